"""Plan -> run folder: what ``esdctl train`` does."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from typing import Any

import torch
import yaml

from esdctl import __version__
from esdctl.checkpoints.changes.delta import write_delta
from esdctl.checkpoints.safetensors.metadata import ErasedName, written_names
from esdctl.erasing.before_after import before_after, sheet_text
from esdctl.erasing.chosen_batch import with_chosen_batch
from esdctl.erasing.concepts import Concept
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.editing.edit_alone import edit_alone, edit_before_training
from esdctl.erasing.esd.compiled import compiled
from esdctl.erasing.esd.loop import Training, train
from esdctl.erasing.esd.optimizer import check_optimizer
from esdctl.erasing.esd.prepare import Prepared, prepare
from esdctl.erasing.esd.student import Student, new_student
from esdctl.erasing.esd.team import ALONE, Team
from esdctl.erasing.esd.trajectories.pool_folder import PoolFolder, pool_digest
from esdctl.erasing.memory_advice import memory_advice
from esdctl.erasing.plan import ErasePlan
from esdctl.erasing.run_folder import RunFolder, claim, open_run
from esdctl.erasing.settings_digest import CHANGEABLE
from esdctl.erasing.trackers import open_tracker
from esdctl.erasing.until import Probe
from esdctl.errors import DeviceError, UsageError
from esdctl.models.memory import memory_errors
from esdctl.models.precision import find_dtype, name_of
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.models.text import cut_prompts
from esdctl.progress import Reporter
from esdctl.sampling.defaults import default_guidance
from esdctl.storage.atomic import write_json, write_text, write_with
from esdctl.storage.lock import target_lock
from esdctl.storage.provenance import collect

# Given the model whose U-Net is the student: what measures it.
Prober = Callable[[StableDiffusion], Probe]
# Given that model, and the student with its embeddings: rounds of attack and edit after training.
Hardener = Callable[[StableDiffusion, Prepared], None]


def erase(
    plan: ErasePlan,
    command_line: Sequence[str],
    reporter: Reporter,
    stop: Callable[[], bool],
    prober: Prober | None = None,
    hardener: Hardener | None = None,
    team: Team = ALONE,
) -> RunFolder:
    """Train, or go on training, until the run folder holds the delta and the sheet.

    A finished run with the same plan is left as it is. Of a team the first process alone writes;
    the others may return before it has finished.

    Args:
        plan: what to do.
        command_line: for the record.
        reporter: told of the progress.
        stop: asked after each step; True saves the state and ends with Interrupted.
        prober: measures the student where the settings say ``until``.
        hardener: attacks and edits the student where the settings say ``harden``.
        team: the processes that share each step, all on one disk; the plan was checked for it.

    Returns:
        The finished run.

    Raises:
        UsageError: the output folder belongs to something else, nothing measures ``until``, or the
            optimiser's library is not installed.
        CheckFailed: the loss became infinite or NaN.
        Interrupted: ``stop`` said so.
        DeviceError: this machine has no such device, or its memory does not suffice.
        StorageError: the disk is full or not writable.
    """
    with ExitStack() as stack:
        with team.first_ahead():
            devices = team.devices(plan.config.devices)
            check_optimizer(plan.config.optimizer)
            team.check(plan.config.method, plan.config.batch_size)
            run = claim(plan.output)
            dtype = find_dtype(_dtype_so_far(run) or plan.config.dtype, devices[0])
            computed = {"devices": [str(d) for d in devices] * team.size, "dtype": name_of(dtype)}
            if team.is_first:
                stack.enter_context(target_lock(plan.output, reporter))
                _write_or_compare_record(run, plan, computed, command_line)
        if run.has_all(plan.config.contact_sheet):
            reporter.notice(f"nothing to do: {run.path} is finished")
            return run
        if team.is_first:
            _record_devices(run, computed, reporter)
        model = load(plan.pipeline, devices[0], dtype)
        with memory_errors(devices[0], lambda: _advice(plan.config, run, devices, dtype)):
            if plan.config.method == "edit" and hardener is None:
                tensors = edit_alone(plan, run, devices[0], reporter)
                _write_delta(run, plan, tensors)
                student = _student_with(tensors, model) if plan.config.contact_sheet else None
            else:
                ready = _prepared(model, plan, devices[1:], reporter)
                with team.first_ahead():
                    chosen = with_chosen_batch(
                        plan, run, ready, ready.schedule, reporter, team.size
                    )
                    team.check(plan.config.method, chosen.config.batch_size)
                student = _train(model, chosen, run, ready, reporter, stop, prober, team)
                if not team.is_first:
                    return run
                if hardener is not None:
                    hardener(model, ready)
                _write_delta(run, chosen, student.selected)
            if student is not None and plan.config.contact_sheet:
                _write_contact_sheet(run, plan, model, student, reporter)
        run.seal(plan.concept.name, plan.digest)
    return run


def _prepared(
    model: StableDiffusion, plan: ErasePlan, second: Sequence[torch.device], reporter: Reporter
) -> Prepared:
    for note in cut_prompts(model, (*plan.concept.prompts, *plan.concept.retained)):
        reporter.warning(note)
    return prepare(model, plan.pipeline, plan.concept, plan.config, second)


def _train(
    model: StableDiffusion,
    plan: ErasePlan,
    run: RunFolder,
    ready: Prepared,
    reporter: Reporter,
    stop: Callable[[], bool],
    prober: Prober | None,
    team: Team,
) -> Student:
    """The trained student; while it trains, the U-Net alone is in the device's memory."""
    config = plan.config
    batch_size = config.batch_size
    assert isinstance(batch_size, int)  # chosen by now
    if config.compile:
        own = team.rows(batch_size)
        ready = replace(ready, student=compiled(ready, config, own.stop - own.start, reporter))
    if config.warm_start and team.is_first:  # the loop gives it to the others
        edit_before_training(ready, plan, run, reporter)
    probe = prober(model) if prober is not None and team.is_first else None
    tracked = config if team.is_first else config.model_copy(update={"tracker": None})
    with closing(open_tracker(tracked, run.path, reporter)) as tracker:
        train(Training(
            ready.student, ready.schedule, ready.embeddings, config, (batch_size, *ready.latent),
            run.checkpoints, run.log, tracker, reporter, stop, probe,
            _pools(plan, ready) if team.is_first else None, team,
        ))  # fmt: skip
    return ready.student


def _student_with(tensors: Mapping[str, torch.Tensor], model: StableDiffusion) -> Student:
    """A student whose selected parameters have these values."""
    student = new_student(
        model.denoiser, model.family.denoiser, list(tensors), model.denoiser_values, model.dtype
    )
    student.take(tensors)
    return student


def _pools(plan: ErasePlan, ready: Prepared) -> PoolFolder | None:
    """Where this run's frozen trajectories are kept, if anywhere."""
    config, student = plan.config, ready.student
    if config.pool is None:
        return None
    computed = (student.device.type, name_of(student.dtype))
    digest = pool_digest(config, plan.concept, plan.base_digest, computed, ready.latent)
    return PoolFolder(config.pool, digest)


def _advice(
    config: TrainConfig, run: RunFolder, devices: Sequence[torch.device], dtype: torch.dtype
) -> list[str]:
    is_another_free = devices[0].type == "cuda" and len(devices) == 1 < torch.cuda.device_count()
    return memory_advice(config, run, name_of(dtype), is_another_free)


def _write_or_compare_record(
    run: RunFolder, plan: ErasePlan, computed: Mapping[str, object], command_line: Sequence[str]
) -> None:
    if run.record.exists():
        _, record = open_run(run.path)
        if record["settings_digest"] != plan.digest:
            raise UsageError(
                f"{run.path} holds a run with other settings",
                "choose another --output, or go on with that run: esdctl train --resume",
            )
        return
    settings = plan.config.model_dump(mode="json")
    write_text(run.path / "config.yaml", yaml.safe_dump(settings, sort_keys=False))
    write_json(
        run.record,
        {
            "settings": settings,
            "settings_digest": plan.digest,
            "lr_batch": plan.lr_batch,
            "preset": plan.preset.name,
            "concept": asdict(plan.concept),
            "base": {"name": plan.pipeline.name, "sha256": plan.base_digest},
            "computed": computed,
            "provenance": collect(command_line),
        },
    )


def _dtype_so_far(run: RunFolder) -> str | None:
    """What a run that has begun computes in: a resumed one goes on so, on whatever device."""
    if not run.record.exists():
        return None
    _, record = open_run(run.path)
    computed = record.get("computed")
    return str(computed["dtype"]) if isinstance(computed, dict) and "dtype" in computed else None


def _record_devices(run: RunFolder, computed: Mapping[str, Any], reporter: Reporter) -> None:
    """Add to the record that a run goes on elsewhere than where it was last."""
    _, record = open_run(run.path)
    before = record["computed"]
    assert isinstance(before, dict)
    resumed = list(before.get("resumed_on", []))
    if (resumed or [before["devices"]])[-1] == computed["devices"]:
        return
    reporter.notice(
        f"{run.path} was on {', '.join(before['devices'])} and goes on on "
        f"{', '.join(computed['devices'])}, in {computed['dtype']}"
    )
    resumed.append(computed["devices"])
    write_json(run.record, {**record, "computed": {**before, "resumed_on": resumed}})


def _write_contact_sheet(
    run: RunFolder, plan: ErasePlan, model: StableDiffusion, student: Student, reporter: Reporter
) -> None:
    guidance = default_guidance(plan.pipeline)
    side = plan.config.image_size or model.image_size
    try:
        first = plan.concept.each[0]
        sheet = before_after(model, student, first, plan.catalogue, guidance, side, reporter)
    except DeviceError as error:
        without = f"finish without the contact sheet: esdctl train --resume {run.path}"
        raise DeviceError(error.message, f"{without} --no-contact-sheet") from error
    text = sheet_text(sheet)
    write_with(run.contact_sheet, lambda temporary: sheet.save(temporary, pnginfo=text))


def _concepts(concept: Concept) -> dict[str, str]:
    """The metadata of several concepts, each with its kind; nothing for one."""
    names = [ErasedName(part.name, part.template) for part in concept.parts]
    return {"concepts": written_names(names)} if names else {}


def _write_delta(run: RunFolder, plan: ErasePlan, selected: Mapping[str, torch.Tensor]) -> None:
    config: TrainConfig = plan.config
    write_delta(
        run.delta,
        selected,
        {
            "base": plan.pipeline.name,
            "base_digest": plan.base_digest,
            "concept": plan.concept.name,
            "concept_kind": plan.concept.template,
            **_concepts(plan.concept),
            "train_method": config.train_method,
            "settings": json.dumps(config.model_dump(mode="json", exclude=CHANGEABLE)),
            "version": __version__,
        },
    )
