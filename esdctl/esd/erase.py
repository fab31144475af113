"""Plan -> run folder: what ``esdctl train`` does."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

import yaml

from esdctl import __version__
from esdctl.checkpoints.delta import write_delta
from esdctl.errors import UsageError
from esdctl.esd.before_after import before_after
from esdctl.esd.config import TrainConfig
from esdctl.esd.plan import CHANGEABLE, ErasePlan
from esdctl.esd.run_folder import RunFolder, claim, open_run
from esdctl.esd.student import Student, new_student
from esdctl.esd.train_methods import select
from esdctl.esd.trainer import Embeddings, train
from esdctl.models.devices import find_device
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.models.text import encode_prompts
from esdctl.progress import Reporter
from esdctl.sampling.plan import default_guidance
from esdctl.storage.atomic import write_json, write_text, write_with
from esdctl.storage.lock import target_lock
from esdctl.storage.provenance import collect


def erase(
    plan: ErasePlan, command_line: Sequence[str], reporter: Reporter, stop: Callable[[], bool]
) -> RunFolder:
    """Train, or go on training, until the run folder holds the delta and the contact sheet.

    A finished run with the same plan is left as it is.

    Args:
        plan: what to do.
        command_line: for the record.
        reporter: told of the progress.
        stop: asked after each step; True saves the state and ends with Interrupted.

    Returns:
        The finished run.

    Raises:
        UsageError: the output folder belongs to something else.
        CheckFailed: the loss became infinite or NaN.
        Interrupted: ``stop`` said so.
        DeviceError: this machine has no such device.
        StorageError: the disk is full or not writable.
    """
    device = find_device(plan.config.device)
    run = claim(plan.output)
    with target_lock(plan.output, reporter):
        _write_or_compare_record(run, plan, command_line)
        if run.is_finished:
            reporter.notice(f"nothing to do: {run.path} is finished")
            return run
        model = load(plan.pipeline, device)
        names = select(plan.config.train_method, [n for n, _ in model.unet.named_parameters()])
        student = new_student(model.unet, names)
        side = (plan.config.image_size or model.image_size) // model.vae_factor
        train(
            student, model.schedule, _embeddings(model, plan), plan.config,
            (plan.config.batch_size, model.unet.config.in_channels, side, side),
            run.checkpoints, run.log, reporter, stop,
        )  # fmt: skip
        _write_delta(run, plan, student)
        sheet = before_after(
            model, student, plan.concept, plan.catalogue, default_guidance(plan.pipeline), reporter
        )
        write_with(run.contact_sheet, lambda beside: sheet.save(beside))
    return run


def _embeddings(model: StableDiffusion, plan: ErasePlan) -> Embeddings:
    """Every prompt's embedding, each encoded once."""
    concept = plan.concept
    return Embeddings(
        prompts=encode_prompts(model, concept.prompts),
        erase_from=encode_prompts(model, [concept.erase_from]) if concept.erase_from else None,
        retained=encode_prompts(model, concept.retained) if concept.retained else None,
        empty=encode_prompts(model, [""]),
    )


def _write_or_compare_record(run: RunFolder, plan: ErasePlan, command_line: Sequence[str]) -> None:
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
            "preset": plan.preset.name,
            "concept": asdict(plan.concept),
            "base": {"name": plan.pipeline.name, "sha256": plan.base_digest},
            "provenance": collect(command_line),
        },
    )


def _write_delta(run: RunFolder, plan: ErasePlan, student: Student) -> None:
    config: TrainConfig = plan.config
    write_delta(
        run.delta,
        dict(student.selected),
        {
            "base": plan.pipeline.name,
            "base_digest": plan.base_digest,
            "concept": plan.concept.name,
            "concept_kind": plan.concept.template,
            "train_method": config.train_method,
            "settings": json.dumps(config.model_dump(mode="json", exclude=CHANGEABLE)),
            "version": __version__,
        },
    )
