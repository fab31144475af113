"""Plan -> run folder: what ``esdctl train`` does."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing

import torch

from esdctl import __version__
from esdctl.checkpoints.changes.delta import write_delta
from esdctl.checkpoints.safetensors.metadata import ErasedName, written_names
from esdctl.diffusion.conditioning import Conditioning
from esdctl.erasing.before_after import before_after, drawn_prompts, sheet_text
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
from esdctl.erasing.frozen_storage import can_offload, load_to_train, notes_on_storage
from esdctl.erasing.memory_advice import memory_advice
from esdctl.erasing.plan import ErasePlan
from esdctl.erasing.run_folder import RunFolder, claim
from esdctl.erasing.run_record import dtype_so_far, record_devices, write_or_compare_record
from esdctl.erasing.settings_digest import CHANGEABLE
from esdctl.erasing.trackers import open_tracker
from esdctl.erasing.until import Probe
from esdctl.errors import DeviceError
from esdctl.models.memory import memory_errors
from esdctl.models.precision import find_dtype, name_of
from esdctl.models.quantization import check_quantization
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.models.text import cut_prompts
from esdctl.progress import Reporter
from esdctl.sampling.defaults import default_guidance
from esdctl.storage.atomic import write_json, write_with
from esdctl.storage.lock import target_lock

# Given the model whose U-Net is the student: what measures it.
Prober = Callable[[StableDiffusion], Probe]
# Given that model, and the student with its embeddings: rounds of attack and edit after training.
Hardener = Callable[[StableDiffusion, Prepared], None]
# Given the erased model: UA of what was erased from it before and now, for the run's folder; None
# where nothing could be judged.
EarlierProbe = Callable[[StableDiffusion], Mapping[str, object] | None]


def erase(
    plan: ErasePlan,
    command_line: Sequence[str],
    reporter: Reporter,
    stop: Callable[[], bool],
    prober: Prober | None = None,
    hardener: Hardener | None = None,
    team: Team = ALONE,
    earlier: EarlierProbe | None = None,
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
        earlier: measures what was erased from the base before; its answer is kept beside the delta.

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
        run, devices, dtype, computed = _begun(plan, command_line, reporter, team, stack)
        if run.has_all(plan.config.contact_sheet):
            reporter.notice(f"nothing to do: {run.path} is finished")
            return run
        if team.is_first:
            record_devices(run, computed, reporter)
        for note in notes_on_storage(plan.config, devices[0]):
            reporter.notice(note)
        model = load_to_train(plan.pipeline, plan.config, devices[0], dtype)
        known: Mapping[str, Conditioning] = {}
        with memory_errors(devices[0], lambda: _advice(plan, run, devices, dtype)):
            if plan.config.method == "edit" and hardener is None:
                is_seen = plan.config.contact_sheet or earlier is not None
                student = _edited(model, plan, run, reporter, is_seen)
            else:
                ready = _prepared(model, plan, devices[1:], reporter)
                known = ready.embeddings.drawn
                student = _trained(model, plan, run, ready, reporter, stop, prober, hardener, team)
            if not team.is_first:
                return run
            if student is not None:
                _look_at(run, plan, model, student, known, earlier, reporter)
        run.seal(plan.concept.name, plan.digest)
    return run


def _look_at(
    run: RunFolder,
    plan: ErasePlan,
    model: StableDiffusion,
    student: Student,
    known: Mapping[str, Conditioning],
    earlier: EarlierProbe | None,
    reporter: Reporter,
) -> None:
    """Measure what was erased before, and draw the sheet, where they are wanted."""
    if earlier is not None:
        _probe_earlier(run, model, earlier)
    if plan.config.contact_sheet:
        _write_contact_sheet(run, plan, model, student, known, reporter)


def _begun(
    plan: ErasePlan,
    command_line: Sequence[str],
    reporter: Reporter,
    team: Team,
    stack: ExitStack,
) -> tuple[RunFolder, tuple[torch.device, ...], torch.dtype, Mapping[str, object]]:
    """The run's folder, locked as long as ``stack`` is open and with its record in it; where and
    in what it is computed, also as the record has it."""
    with team.first_ahead():
        devices = team.devices(plan.config.devices)
        check_optimizer(plan.config.optimizer)
        check_quantization(plan.config.quantize_frozen)
        team.check(plan.config.method, plan.config.batch_size)
        run = claim(plan.output)
        dtype = find_dtype(dtype_so_far(run) or plan.config.dtype, devices[0])
        computed = {"devices": [str(d) for d in devices] * team.size, "dtype": name_of(dtype)}
        if team.is_first:
            stack.enter_context(target_lock(plan.output, reporter))
            write_or_compare_record(run, plan, computed, command_line)
    return run, devices, dtype, computed


def _edited(
    model: StableDiffusion, plan: ErasePlan, run: RunFolder, reporter: Reporter, is_seen: bool
) -> Student | None:
    """Write an edit's delta; the model with it, if it will be seen."""
    tensors = edit_alone(plan, run, model.device, reporter)
    _write_delta(run, plan, tensors)
    return _student_with(tensors, model) if is_seen else None


def _prepared(
    model: StableDiffusion, plan: ErasePlan, second: Sequence[torch.device], reporter: Reporter
) -> Prepared:
    for note in cut_prompts(model, (*plan.concept.prompts, *plan.concept.retained)):
        reporter.warning(note)
    # The sheet's prompts are read with the others: beside a large denoiser, a large text encoder
    # may find no room again.
    sheet = drawn_prompts(plan.concept.each[0], plan.catalogue) if plan.config.contact_sheet else []
    return prepare(model, plan.pipeline, plan.concept, plan.config, second, sheet)


def _trained(
    model: StableDiffusion,
    plan: ErasePlan,
    run: RunFolder,
    ready: Prepared,
    reporter: Reporter,
    stop: Callable[[], bool],
    prober: Prober | None,
    hardener: Hardener | None,
    team: Team,
) -> Student:
    """Train, harden, and write the delta, which a team's first process alone does.

    While it trains, the denoiser alone is in the device's memory.
    """
    with team.first_ahead():
        plan = with_chosen_batch(plan, run, ready, ready.schedule, reporter, team.size)
        team.check(plan.config.method, plan.config.batch_size)
    config, batch_size, student = plan.config, plan.config.batch_size, ready.student
    assert isinstance(batch_size, int)  # chosen by now
    if config.compile:
        own = team.rows(batch_size)
        student = compiled(ready, config, own.stop - own.start, reporter)
    if config.warm_start and team.is_first:  # the loop gives it to the others
        edit_before_training(ready, plan, run, reporter)
    probe = prober(model) if prober is not None and team.is_first else None
    tracked = config if team.is_first else config.model_copy(update={"tracker": None})
    with closing(open_tracker(tracked, run.path, reporter)) as tracker:
        train(Training(
            student, ready.schedule, ready.embeddings, config, (batch_size, *ready.latent),
            run.checkpoints, run.log, tracker, reporter, stop, probe,
            _pools(plan, ready) if team.is_first else None, team,
        ))  # fmt: skip
    if team.is_first:
        if hardener is not None:
            hardener(model, ready)
        _write_delta(run, plan, student.selected)
    return student


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
    plan: ErasePlan, run: RunFolder, devices: Sequence[torch.device], dtype: torch.dtype
) -> list[str]:
    is_another_free = devices[0].type == "cuda" and len(devices) == 1 < torch.cuda.device_count()
    frees = can_offload(plan.pipeline, plan.config, devices[0])
    return memory_advice(plan.config, run, name_of(dtype), is_another_free, frees)


def _probe_earlier(run: RunFolder, model: StableDiffusion, earlier: EarlierProbe) -> None:
    try:
        found = earlier(model)
    except DeviceError as error:
        without = f"finish without the probe: esdctl train --resume {run.path} --no-probe-earlier"
        raise DeviceError(error.message, without) from error
    if found is not None:
        write_json(run.earlier, found)


def _write_contact_sheet(
    run: RunFolder,
    plan: ErasePlan,
    model: StableDiffusion,
    student: Student,
    known: Mapping[str, Conditioning],
    reporter: Reporter,
) -> None:
    guidance = default_guidance(plan.pipeline)
    side = plan.config.image_size or model.image_size
    try:
        first = plan.concept.each[0]
        sheet = before_after(model, student, first, plan.catalogue, guidance, side, reporter, known)
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
