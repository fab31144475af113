"""``bench sample``: pictures a second at several batch sizes, beside diffusers' pipeline."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from esdctl.errors import UsageError
from esdctl.models.devices import find_device
from esdctl.models.memory import memory_errors, peak_memory
from esdctl.models.precision import dtype_for, find_dtype
from esdctl.models.resolve import resolve_model
from esdctl.models.stable_diffusion import load
from esdctl.models.stopwatch import seconds_of
from esdctl.progress import Reporter
from esdctl.sampling.defaults import default_guidance
from esdctl.storage.workspace import Workspace
from esdctl.timing.diffusers_pipeline import diffusers_pipeline, sample_with
from esdctl.timing.isolated import isolated
from esdctl.timing.measurements import Case, Measurements, Subject, measurements
from esdctl.timing.sampling_cost import measure_sampling, some_pictures

TASK = "cases"


def bench_sampling(
    model: str,
    root: Path,
    batch_sizes: Sequence[int],
    steps: int,
    device: str | None,
    reporter: Reporter,
    dtype: str | None = None,
) -> Measurements:
    """Measure diffusers at the largest batch size, then ours at each; a process each.

    Args:
        model: as the user names it.
        root: the workspace.
        batch_sizes: pictures at once.
        steps: of DDIM.
        device: or None for the best one.
        reporter: told of each case.
        dtype: what the U-Nets compute in; None for what suits the device.

    Raises:
        UsageError: there is no such type.
    """
    largest, dtype = max(batch_sizes), dtype_for(dtype, device)
    reporter.started(TASK, 1 + len(batch_sizes), "cases")
    theirs = isolated(diffusers_figures, model, root, largest, steps, device, dtype).value
    rows = [Case(f"diffusers, batch {largest}", theirs)]
    reporter.advanced(TASK, 1)
    for size in batch_sizes:
        ours = isolated(our_figures, model, root, size, steps, device, dtype).value
        rows.append(Case(f"esdctl, batch {size}", ours))
        reporter.advanced(TASK, len(rows))
    reporter.finished(TASK)
    pipeline = resolve_model(model, Workspace(root))
    settings = {"steps": steps, "batch_sizes": list(batch_sizes), "dtype": dtype}
    return measurements(
        f"A picture of {steps} DDIM steps",
        rows,
        ("s a picture", "peak memory, MB"),
        Subject("sample", pipeline.name, pipeline.digest(), settings),
        str(find_device(device)),
    )


def parse_batch_sizes(text: str) -> list[int]:
    """Read ``1,4,16``.

    Raises:
        UsageError: a part is no number from 1 on.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--batch-sizes {text!r} names no batch sizes", "write 1,4,16")
    return [int(part) for part in parts]


def our_figures(
    name: str,
    root: Path,
    batch_size: int,
    steps: int,
    device: str | None,
    dtype: str | None = None,
) -> dict[str, float | None]:
    """By short batches of few steps and of more."""
    place = find_device(device)
    pipeline = resolve_model(name, Workspace(root))
    model = load(pipeline, place, find_dtype(dtype, place))
    pictures = some_pictures(model, batch_size, default_guidance(pipeline))
    with memory_errors(place, _advice):
        cost = measure_sampling(model, pictures)
    return _figures(cost.seconds_a_picture(steps), place)


def diffusers_figures(
    name: str,
    root: Path,
    batch_size: int,
    steps: int,
    device: str | None,
    dtype: str | None = None,
) -> dict[str, float | None]:
    """The same through diffusers' own pipeline on the same weights."""
    place = find_device(device)
    pipeline = resolve_model(name, Workspace(root))
    model = load(pipeline, place)
    pictures = some_pictures(model, batch_size, default_guidance(pipeline))
    with memory_errors(place, _advice):
        pipe = diffusers_pipeline(model).to(find_dtype(dtype, place))
        few, more = (
            seconds_of(place, partial(sample_with, pipe, pictures, count)) for count in (1, 4)
        )
    step = max(0.0, more - few) / 3
    return _figures((few + step * (steps - 1)) / batch_size, place)


def _advice() -> list[str]:
    return ["measure smaller --batch-sizes", "use --device cpu"]


def _figures(seconds: float, place: torch.device) -> dict[str, float | None]:
    return {
        "s a picture": seconds,
        "pictures a second": 1 / seconds,
        "peak memory, MB": peak_memory(place) / 1e6,
    }
