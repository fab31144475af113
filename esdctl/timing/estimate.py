"""How long a command will take and how much memory, told before it starts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from esdctl.erasing.before_after import sheet_batch_size, sheet_pictures
from esdctl.erasing.chosen_batch import choose_batch
from esdctl.erasing.esd.prepare import prepare
from esdctl.erasing.frozen_storage import can_offload, load_to_train
from esdctl.erasing.memory_advice import memory_advice
from esdctl.erasing.plan import ErasePlan
from esdctl.erasing.run_folder import RunFolder
from esdctl.erasing.training_length import steps_of
from esdctl.evaluation.evaluate import missing_pictures
from esdctl.evaluation.plan import EvaluationPlan
from esdctl.models.devices import find_devices
from esdctl.models.memory import memory_errors, peak_memory
from esdctl.models.precision import DTYPES, find_dtype, name_of
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.models.text import encode_prompts
from esdctl.progress import Reporter, Silent
from esdctl.sampling.defaults import default_guidance
from esdctl.sampling.plan import BatchSize, Picture
from esdctl.sampling.sample import auto_batch_size, sampling_advice
from esdctl.timing.sampling_cost import sampling_seconds
from esdctl.timing.training_cost import measure_training

FEW_PROMPTS = 4  # read to tell how long all of them take


@dataclass(frozen=True)
class Estimate:
    """Time and memory of a command.

    Args:
        seconds: from the command's start to its end.
        peak_memory_bytes: the most at once, of the CUDA device or resident.
        device: where.
        parts: how the seconds are made up.
    """

    seconds: float
    peak_memory_bytes: int
    device: str
    parts: dict[str, float]

    def document(self) -> dict[str, object]:
        """As a JSON document."""
        return {
            "seconds": round(self.seconds, 2),
            "peak_memory_bytes": self.peak_memory_bytes,
            "device": self.device,
            "parts": {name: round(seconds, 4) for name, seconds in self.parts.items()},
        }


def estimate_training(plan: ErasePlan, began: float, reporter: Reporter) -> Estimate:
    """Open the model, measure one step, and count what is left of the run.

    With ``until`` it is what the run takes at the most. Nothing is written.

    Args:
        plan: the run.
        began: when the command started, by ``time.perf_counter``.
        reporter: told of the batch size where it is measured.

    Raises:
        DeviceError: there is no such device, or its memory does not suffice for a step.
    """
    config, run = plan.config, RunFolder(plan.output)
    if config.method == "edit" and not config.harden:
        return _estimate_edit(plan, began)
    devices = find_devices(config.devices)
    dtype = find_dtype(config.dtype, devices[0])
    model = load_to_train(plan.pipeline, config, devices[0], dtype)
    begun = run if run.record.exists() else None
    if begun is not None and not isinstance(config.batch_size, int):
        config = config.model_copy(update={"batch_size": run.chosen_batch_size()})
    batch_size = config.batch_size

    def advice() -> list[str]:
        settings = config.model_copy(update={"batch_size": batch_size})
        frees = can_offload(plan.pipeline, settings, devices[0])
        return memory_advice(settings, begun, name_of(dtype), False, frees)

    with memory_errors(devices[0], advice):
        ready = prepare(model, plan.pipeline, plan.concept, config, devices[1:])
        batch_size = choose_batch(config, ready, ready.schedule, reporter)
        opening = time.perf_counter() - began
        cost = measure_training(ready, ready.schedule, config, batch_size)
        sheet = _sheet_seconds(plan, model) if config.contact_sheet else 0.0
    steps = steps_of(config, batch_size) - run.saved_steps()
    parts = {
        "opening": opening,
        "training": steps * cost.seconds_a_step,
        "contact_sheet": sheet,
    }
    more = {"a_step": cost.seconds_a_step, "a_pair": cost.seconds_a_pair}
    total = sum(parts.values())
    return Estimate(total, peak_memory(devices[0]), str(devices[0]), {**parts, **more})


def _estimate_edit(plan: ErasePlan, began: float) -> Estimate:
    """A few prompts are read by the text encoder; what the edit takes beside that is little."""
    device = find_devices(plan.config.devices)[0]
    model = load(replace(plan.pipeline), device)
    prompts = (*plan.concept.prompts, *plan.concept.retained, "")
    with memory_errors(device, lambda: ["use --device cpu"]):
        for _ in range(2):  # the first call is slower than all others
            start = time.perf_counter()
            encode_prompts(model, prompts[:FEW_PROMPTS])
            reading = time.perf_counter() - start
        opening = time.perf_counter() - began
        model.drop("text_encoders")
        sheet = _sheet_seconds(plan, model) if plan.config.contact_sheet else 0.0
    editing = reading * len(prompts) / len(prompts[:FEW_PROMPTS])
    parts = {"opening": opening, "editing": editing, "contact_sheet": sheet}
    return Estimate(sum(parts.values()), peak_memory(device), str(device), parts)


def _sheet_seconds(plan: ErasePlan, model: StableDiffusion) -> float:
    guidance = default_guidance(plan.pipeline)
    side = plan.config.image_size or model.image_size
    _, pictures = sheet_pictures(model, plan.concept, plan.catalogue, guidance, side)
    return 2 * sampling_seconds(model, pictures, sheet_batch_size(side))


def estimate_sampling(
    pipeline: Pipeline,
    pictures: Sequence[Picture],
    batch_size: BatchSize,
    device: torch.device,
    began: float,
) -> Estimate:
    """Open the model and measure a short batch of each kind of picture.

    Args:
        pipeline: the model.
        pictures: what is to be made; at least one.
        batch_size: at most so many at once.
        device: where.
        began: when the command started, by ``time.perf_counter``.

    Raises:
        DeviceError: the device's memory does not suffice for a batch.
    """
    model = load(pipeline, device, DTYPES[pictures[0].dtype])
    with memory_errors(device, partial(sampling_advice, device, pictures[:1])):
        model.load_all()
    size = auto_batch_size(model, pictures) if batch_size == "auto" else batch_size
    opening = time.perf_counter() - began
    parts = {"opening": opening, "sampling": sampling_seconds(model, pictures, size)}
    return Estimate(sum(parts.values()), peak_memory(device), str(device), parts)


def estimate_evaluation(
    plan: EvaluationPlan, folder: Path, batch_size: BatchSize, device: torch.device, began: float
) -> Estimate:
    """Measure a short batch and a verdict, and count the pictures that are not judged yet.

    Args:
        plan: what to evaluate.
        folder: where predictions are looked up.
        batch_size, device, began: as in ``estimate_sampling``.

    Raises:
        DeviceError: the device's memory does not suffice for a batch.
        InputError: a file of predictions is damaged, or the classifier.
        IntegrityError: the classifier's file is damaged.
    """
    missing = missing_pictures(plan, folder)
    pictures = [case.picture for case in plan.cases]
    blank = np.zeros((1, pictures[0].height, pictures[0].width, 3), np.uint8)
    with memory_errors(device, lambda: ["use --device cpu"]):
        # Beside the model, as in an evaluation.
        looks = [judge.load(device, Silent()) for judge in plan.judges]
        for _ in range(2):  # the first call is slower than all others
            start = time.perf_counter()
            for look in looks:
                look(blank)
            verdict = time.perf_counter() - start
    one = estimate_sampling(plan.pipeline, pictures, batch_size, device, began)
    parts = {
        "opening": one.parts["opening"] * max(1, sum(count > 0 for count in missing)),
        "sampling": one.parts["sampling"] * sum(missing) / len(plan.cases),
        "judging": verdict * sum(missing),
    }
    return replace(one, seconds=sum(parts.values()), parts=parts)
