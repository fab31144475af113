"""How far pictures move in bf16, and whether verdicts do, on the pocket model and an erasure of it.

    python tests/measurements/dtypes.py [--model NAME|PATH] [--every 13] [--steps 25] [--device cpu]

Samples every 13th of the 260 pictures of styles x objects in fp32 and in bf16, from the same noise,
and lets the model's classifier see both. Levels are of 0 to 255, one a colour of a pixel.
"""

import argparse
import time

import numpy as np
import torch

import esdctl
from esdctl.datasets.unlearn_canvas import evaluation_prompt
from esdctl.evaluation.judges.find import find_classifier
from esdctl.models.devices import find_device
from esdctl.pocket.canvas import OBJECTS, STYLE_NAMES
from esdctl.progress import Silent

SEED = 188


def main() -> None:
    """Print one line of figures a type, and one of the verdicts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--every", type=int, default=13, help="of the 260 cells, one in so many")
    parser.add_argument("--steps", type=int, default=25, help="of DDIM")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    model = esdctl.open_model(arguments.model)
    cells = [(style, name) for style in STYLE_NAMES for name in OBJECTS][:: arguments.every]
    prompts = [evaluation_prompt(*cell) for cell in cells]
    classify = find_classifier(model.files, model.workspace.models, None).load(
        find_device(arguments.device), Silent()
    )
    made, seen = {}, {}
    for dtype in ("fp32", "bf16"):
        began = time.perf_counter()
        pictures = model.sample(
            *prompts, seeds=SEED, steps=arguments.steps, device=arguments.device, dtype=dtype,
            reporter=Silent(),
        )  # fmt: skip
        made[dtype] = np.stack([np.asarray(picture) for picture in pictures])
        seen[dtype] = [(each.style, each.object) for each in classify(made[dtype])]
        print(f"{dtype}: {(time.perf_counter() - began) / len(cells):.2f} s a picture")
    moved = np.abs(made["fp32"].astype(int) - made["bf16"].astype(int))  # (N, H, W, 3)
    other = sum(one != two for one, two in zip(seen["fp32"], seen["bf16"], strict=True))
    print(
        f"{len(cells)} pictures: {moved.mean():.2f} levels on average, "
        f"{np.percentile(moved, 99):.0f} at the 99th percentile, {moved.max()} at the most; "
        f"verdicts differ on {other}; {torch.__version__}"
    )


if __name__ == "__main__":
    main()
