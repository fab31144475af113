"""Pictures a second at batch 16: ours beside StableDiffusionPipeline on the same weights.

    python tests/measurements/sampling.py [--model pocket] [--batch 16] [--steps 25] [--rounds 5]
                                        [--work FOLDER]

Both make the same pictures in one process and take turns. How far apart the pictures are is
measured in each round, in steps of 255.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from esdctl.models.resolve import resolve_model
from esdctl.models.stable_diffusion import load
from esdctl.sampling.defaults import default_guidance
from esdctl.sampling.plan import Picture
from esdctl.sampling.sample import sample
from esdctl.storage.workspace import Workspace
from esdctl.timing.diffusers_pipeline import diffusers_pipeline, sample_with
from tests.measurements.results import Document, kept, show, table

STYLES = ("Mosaic", "Rust", "Winter", "Sketch")
OBJECTS = ("Dogs", "Cats", "Towers", "Trees", "Flowers")


def main() -> None:
    """Measure what is missing, then print the table."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    rounds = [
        kept(arguments.work / f"round-{index}.json", lambda index=index: _round(arguments, index))  # type: ignore[misc]
        for index in range(arguments.rounds)
    ]
    ratios = [one["diffusers"] / one["esdctl"] for one in rounds]
    rows: list[tuple[object, ...]] = []
    for name in ("diffusers", "esdctl"):
        seconds = statistics.median(one[name] for one in rounds)
        ratio = statistics.median(ratios) if name == "esdctl" else 1.0
        rows.append((name, seconds, arguments.batch / seconds, ratio))
    columns = (f"batch {arguments.batch}", "s a batch", "pictures a second", "times faster")
    furthest = max(one["furthest"] for one in rounds)
    text = table(columns, rows) + (
        f"\nMedians of {len(rounds)} rounds; the ratio of a round was {min(ratios):.2f} to "
        f"{max(ratios):.2f}. {arguments.steps} DDIM steps. The pictures differ by at most "
        f"{furthest} of 255, and at {max(one['differing'] for one in rounds):.3f} % of the values."
    )
    show(text, arguments.work / "sampling.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--work", type=Path, default=Path("outputs/sampling"))
    return parser.parse_args()


def _round(arguments: argparse.Namespace, index: int) -> Document:
    """Warm up with two steps, then one batch of each, whoever's turn is first."""
    pipeline = resolve_model(arguments.model, Workspace(Path()))
    model = load(pipeline, torch.device("cpu"))
    pipe = diffusers_pipeline(model)
    pictures = [
        Picture(
            file=str(i),
            prompt=f"A {OBJECTS[i % len(OBJECTS)]} image in {STYLES[i % len(STYLES)]} style.",
            seed=1000 * index + i,
            guidance=default_guidance(pipeline),
            steps=arguments.steps,
            width=model.image_size,
            height=model.image_size,
        )
        for i in range(arguments.batch)
    ]

    def theirs(steps: int) -> npt.NDArray[np.uint8]:
        return sample_with(pipe, pictures, steps)

    def ours(steps: int) -> npt.NDArray[np.uint8]:
        short = [Picture(**{**vars(picture), "steps": steps}) for picture in pictures]
        made = [pixels for batch in sample(model, short, len(short)) for _, pixels in batch]
        return np.stack(made)

    makers = {"diffusers": theirs, "esdctl": ours}
    if index % 2:
        makers = dict(reversed(makers.items()))
    result: Document = {}
    pixels: dict[str, npt.NDArray[np.uint8]] = {}
    for name, make in makers.items():
        make(2)
        began = time.perf_counter()
        pixels[name] = make(arguments.steps)
        result[name] = time.perf_counter() - began
    apart = np.abs(pixels["diffusers"].astype(int) - pixels["esdctl"].astype(int))
    return {
        **result,
        "furthest": int(apart.max()),
        "differing": 100 * float((apart > 0).mean()),
    }


if __name__ == "__main__":
    main()
