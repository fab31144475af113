"""``bench load``: seconds and memory until a model could make its first prediction."""

import time
from pathlib import Path

import torch

from esdctl.models.devices import find_device
from esdctl.models.memory import memory_errors, peak_memory
from esdctl.models.quiet_libraries import quiet_libraries
from esdctl.models.resolve import Pipeline, resolve_model
from esdctl.models.stable_diffusion import load
from esdctl.models.stopwatch import synchronise
from esdctl.models.text import encode_prompts
from esdctl.progress import Reporter
from esdctl.storage.workspace import Workspace
from esdctl.timing.isolated import isolated
from esdctl.timing.measurements import Case, Measurements, Subject, measurements

TASK = "cases"


def bench_loading(model: str, root: Path, device: str | None, reporter: Reporter) -> Measurements:
    """Open a model as diffusers does (a pipeline folder only) and as we do; a process each.

    Args:
        model: as the user names it.
        root: the workspace.
        device: or None for the best one.
        reporter: told of each case.
    """
    pipeline, place = resolve_model(model, Workspace(root)), find_device(device)
    has_folder = pipeline.path.is_dir() and pipeline.delta is None
    openers = {"esdctl, all parts": whole, "esdctl, to train": to_train}
    if has_folder:
        openers = {"diffusers, from_pretrained": with_diffusers, **openers}
    reporter.started(TASK, len(openers), "cases")
    rows = []
    for name, opener in openers.items():
        found = isolated(opener, model, root, device)
        seconds, peak = found.value
        imported = found.imported_bytes if place.type == "cpu" else 0  # the libraries' is no card's
        memory = peak / 1e6, max(0, peak - imported) / 1e6
        rows.append(
            Case(name, {"s": seconds, "peak memory, MB": memory[0], "of it the model's": memory[1]})
        )
        reporter.advanced(TASK, len(rows), name)
    reporter.finished(TASK)
    title = "Opening a model from the disk's cache, with the libraries loaded"
    subject = Subject("load", pipeline.name, pipeline.digest(), {})
    return measurements(title, rows, ("s", "peak memory, MB"), subject, str(place))


def whole(model: str, root: Path, device: str | None) -> tuple[float, int]:
    """Every part in place."""
    place = find_device(device)
    began = time.perf_counter()
    opened = load(_pipeline(model, root), place)
    with memory_errors(place, _advice):
        opened.load_all()
    return _since(began, place)


def to_train(model: str, root: Path, device: str | None) -> tuple[float, int]:
    """Prompts encoded, text encoders dropped, the U-Net in place."""
    place = find_device(device)
    began = time.perf_counter()
    opened = load(_pipeline(model, root), place)
    with memory_errors(place, _advice):
        encode_prompts(opened, ["An image of Rust.", ""])
        opened.drop("text_encoders")
        assert opened.denoiser is not None
    return _since(began, place)


def with_diffusers(model: str, root: Path, device: str | None) -> tuple[float, int]:
    """``DiffusionPipeline.from_pretrained`` in fp32."""
    quiet_libraries()
    from diffusers import DiffusionPipeline

    place = find_device(device)
    began = time.perf_counter()
    path = _pipeline(model, root).path
    with memory_errors(place, _advice):
        DiffusionPipeline.from_pretrained(path, local_files_only=True).to(place)
    return _since(began, place)


def _advice() -> list[str]:
    return ["use --device cpu"]


def _pipeline(model: str, root: Path) -> Pipeline:
    return resolve_model(model, Workspace(root))


def _since(began: float, place: torch.device) -> tuple[float, int]:
    synchronise(place)
    return time.perf_counter() - began, peak_memory(place)
