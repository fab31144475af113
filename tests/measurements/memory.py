"""Peak resident memory of training ESD-x on a full-size SD 1.x, on the CPU.

    python tests/measurements/memory.py [--dtypes fp32,bf16] [--image-size 512] [--work FOLDER]
                                      [--no-gradient-checkpointing]

Makes checkpoints of random weights (4.3 GB in fp32, 2.1 GB in bf16) in FOLDER, one at a time, and
removes each when it is measured. Each way of training runs two optimiser steps in a process of its
own, from opening the file on: ours through the real loop, and two separate U-Nets of diffusers with
the same selected parameters, image size and checkpointing, the plain way. Resident memory counts
the libraries, and the pages of mapped weights, which the system could take back.
"""

import argparse
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from esdctl.erasing.esd.loop import Training, train
from esdctl.erasing.esd.prepare import prepare
from esdctl.erasing.plan import plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.erasing.trackers import open_tracker
from esdctl.erasing.train_methods import select
from esdctl.models.families.registry import family_named
from esdctl.models.precision import DTYPES
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load
from esdctl.progress import Silent
from esdctl.storage.workspace import Workspace
from esdctl.timing.isolated import Isolated, isolated
from tests.checkpoints.full_size_file import write_full_size
from tests.measurements.results import Document, kept, show, table

CPU = torch.device("cpu")
ALLOWED = 1.4  # times the U-Net's bytes in the training type
STEPS = 2
WAYS = ("esdctl", "two U-Nets")


def main() -> None:
    """Measure what is missing, then print the table."""
    arguments = _arguments()
    rows: list[tuple[object, ...]] = []
    for dtype in arguments.dtypes.split(","):
        checkpoint = arguments.work / f"sd1-{dtype}.safetensors"
        found = {
            way: kept(
                arguments.work / f"{way.replace(' ', '-')}-{dtype}-{arguments.image_size}.json",
                partial(_measured, way, checkpoint, dtype, arguments),
            )
            for way in WAYS
        }
        checkpoint.unlink(missing_ok=True)
        rows += [_row(way, dtype, found[way]) for way in WAYS]
    columns = (
        "way", "dtype", "peak resident, GB", "libraries", "less libraries", "U-Net, GB",
        "Adam's state, GB",
        f"allowed ({ALLOWED} U-Nets + Adam), GB", "U-Nets (less libraries, Adam)",
    )  # fmt: skip
    is_checkpointed = "with" if arguments.gradient_checkpointing else "without"
    text = table(columns, rows) + (
        f"\nSD 1.x, 859.5 million parameters, ESD-x, batch 1, {arguments.image_size} px, "
        f"{is_checkpointed} gradient checkpointing, {STEPS} steps."
    )
    show(text, arguments.work / "memory.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dtypes", default="fp32,bf16", help="fp32, bf16, or both")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument(
        "--gradient-checkpointing", action=argparse.BooleanOptionalAction, default=True
    )
    parser.add_argument("--work", type=Path, default=Path("outputs/memory"))
    return parser.parse_args()


def _row(way: str, dtype: str, found: Document) -> tuple[object, ...]:
    unet, adam, peak = (found[key] / 1e9 for key in ("unet", "adam", "resident"))
    allowed = ALLOWED * unet + adam if way == "esdctl" else None
    libraries = found["libraries"] / 1e9
    own = peak - libraries
    return (way, dtype, peak, libraries, own, unet, adam, allowed, (own - adam) / unet)


def _measured(way: str, checkpoint: Path, dtype: str, arguments: argparse.Namespace) -> Document:
    if not checkpoint.exists():
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_full_size(checkpoint, DTYPES[dtype])
    trained = {"esdctl": ours, "two U-Nets": two_unets}[way]
    found: Isolated[tuple[int, int]] = isolated(
        trained, checkpoint, dtype, arguments.image_size, arguments.gradient_checkpointing
    )
    unet, adam = found.value
    return {
        "resident": found.resident_bytes,
        "libraries": found.imported_bytes,
        "unet": unet,
        "adam": adam,
    }


def ours(path: Path, dtype: str, side: int, is_checkpointed: bool) -> tuple[int, int]:
    """Two steps as ``esdctl train`` makes them; bytes of the U-Net and of Adam's state."""
    settings = {
        "model": str(path), "prompt": "An image of Rust.", "train_method": "esd-x",
        "dtype": dtype, "image_size": side, "gradient_checkpointing": is_checkpointed,
        "iterations": STEPS, "ddim_steps": 2, "devices": "cpu",
    }  # fmt: skip
    plan = plan_erase(EraseRequest(settings, preset="style"), Workspace(Path()))
    config = plan.config
    model = load(plan.pipeline, CPU, DTYPES[dtype])
    ready = prepare(model, plan.pipeline, plan.concept, config)
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        tracker = open_tracker(config, Path(folder), Silent())
        train(Training(
            ready.student, model.schedule, ready.embeddings, config, (1, *ready.latent),
            Path(folder), log, tracker, Silent(), lambda: False,
        ))  # fmt: skip
    selected = sum(p.numel() for p in ready.student.selected.values())
    parameters = sum(p.numel() for p in model.denoiser.parameters())
    return parameters * DTYPES[dtype].itemsize, 2 * selected * 4


def two_unets(path: Path, dtype: str, side: int, is_checkpointed: bool) -> tuple[int, int]:
    """Two steps on a student and a frozen U-Net that share nothing, all in ``dtype``."""
    kind = DTYPES[dtype]
    frozen, student = (load(Pipeline("it", path), CPU, kind).denoiser for _ in range(2))
    for unet in (frozen, student):
        unet.load_state_dict({k: v.clone() for k, v in unet.state_dict().items()}, assign=True)
    every = [name for name, _ in student.named_parameters()]
    names = select("esd-x", every, family_named("sd1"))
    chosen = [parameter for name, parameter in student.named_parameters() if name in set(names)]
    frozen.requires_grad_(False)
    student.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_(True)
    if is_checkpointed:
        student.enable_gradient_checkpointing()
    optimizer = torch.optim.Adam(chosen, lr=1e-5)
    c, empty = (torch.randn(1, 77, 768, dtype=kind) for _ in range(2))
    for _ in range(STEPS):
        x_t = torch.randn(1, 4, side // 8, side // 8, dtype=kind)
        with torch.no_grad():
            eps_0, eps_c = (frozen(x_t, 500, each, return_dict=False)[0] for each in (empty, c))
        prediction = student(x_t, 500, c, return_dict=False)[0]
        loss = (prediction - (eps_0 - (eps_c - eps_0))).float().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    parameters = sum(p.numel() for p in student.parameters())
    return parameters * kind.itemsize, 2 * sum(p.numel() for p in chosen) * kind.itemsize


if __name__ == "__main__":
    main()
