"""Kernels, casts, copies, waits and memory of a training step at full size, on a pretended GPU.

    python tests/measurements/rehearsal.py [--families sd1,sd2,sdxl] [--methods xattn,noxattn,full]
                                           [--optimizers adam,adam8bit] [--batch-size 1]
                                           [--image-size PIXELS] [--gradient-checkpointing]
                                           [--work FOLDER]

Each case opens a checkpoint of the real shapes and trains some steps of ``rolling`` in bf16, in a
process of its own, on a CUDA device that tests/rehearsal makes believe: no value is computed, so a
case takes a minute of one core. Time cannot be measured so, and no library's workspace is counted.
adam8bit needs bitsandbytes; its kernels count as one a parameter.
"""

import argparse
import json
import subprocess
import sys
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.rehearsal.device.build import build
from tests.rehearsal.device.runtime import environment, install

COUNTED = 3  # the step; the first ones start the trajectories
CASTS = ("_to_copy", "copy_")


def main() -> None:
    """Measure what is missing, then print the table."""
    arguments = _arguments()
    if arguments.case is not None:
        install(arguments.library)
        print(json.dumps(_counted(**json.loads(arguments.case))))
        return
    from tests.measurements.results import kept, show, table

    rows: list[tuple[object, ...]] = []
    with TemporaryDirectory() as folder:
        library = build(Path(folder))
        for family in arguments.families.split(","):
            for method, optimizer in product(
                arguments.methods.split(","), arguments.optimizers.split(",")
            ):
                case = {
                    "family": family, "method": method, "optimizer": optimizer,
                    "rows": arguments.batch_size,
                    "gradient_checkpointing": arguments.gradient_checkpointing,
                    "image_size": arguments.image_size,
                }  # fmt: skip
                name = "-".join(map(str, case.values()))
                path = arguments.work / f"{name}.json"
                found = kept(path, partial(_in_a_process, library, case))
                rows.append((*list(case.values())[:4], *map(found.get, COLUMNS)))
    columns = ("family", "method", "optimizer", "batch", *COLUMNS)
    show(table(columns, rows), arguments.work / "rehearsal.md")


COLUMNS = (
    "kernels", "casts", "waits", "copies", "bytes copied", "peak, GB", "kept between steps, GB",
)  # fmt: skip


class _Enough(Exception):
    """Ends a training whose step is counted."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--families", default="sd1,sd2,sdxl")
    parser.add_argument("--methods", default="xattn,noxattn,full")
    parser.add_argument("--optimizers", default="adam", help="of adam, adam8bit")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--image-size", type=int, help="the model's own unless told")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--work", type=Path, default=Path("outputs/rehearsal"))
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--library", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_a_process(library: Path, case: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.measurements.rehearsal", "--library", str(library)]
    done = subprocess.run(
        [*command, "--case", json.dumps(case)],
        env=environment(REHEARSAL_META="1", REHEARSAL_GB="1000"),
        stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _counted(
    family: Any,
    method: str,
    optimizer: Any,
    rows: int,
    gradient_checkpointing: bool,
    image_size: int | None = None,
) -> dict[str, Any]:
    """The counts of one step, where the device's hooks are installed."""
    import torch

    from esdctl.erasing.concepts import Concept
    from esdctl.erasing.config import TrainConfig
    from esdctl.erasing.esd.loop import Training, train
    from esdctl.erasing.esd.prepare import prepare
    from esdctl.erasing.trackers import open_tracker
    from esdctl.models.resolve import Pipeline
    from esdctl.models.stable_diffusion import load
    from esdctl.progress import Silent
    from tests.checkpoints.sparse_file import write_sparse
    from tests.rehearsal.device.counts import COUNTS
    from tests.rehearsal.device.memory import MEMORY

    config = TrainConfig(
        concept="Rust", train_method=method, trajectory="rolling", batch_size=rows, pool_size=rows,
        optimizer=optimizer, iterations=COUNTED + 1, save_every=1000, save_minutes=1000,
        gradient_checkpointing=gradient_checkpointing, image_size=image_size,
    )  # fmt: skip
    seen: list[dict[str, Any]] = []

    class Watch(Silent):
        def advanced(self, task: str, done: int, details: str = "") -> None:
            seen.append({**COUNTS.document(), "now": MEMORY.now[0], "peak": MEMORY.peak[0]})
            COUNTS.reset()
            if len(seen) == COUNTED:
                raise _Enough  # before a checkpoint of up to 33 GB is copied to the host

    with TemporaryDirectory() as name:
        folder = Path(name)
        write_sparse(folder / "model.safetensors", family)
        pipeline = Pipeline(family, folder / "model.safetensors")
        model = load(pipeline, torch.device("cuda", 0), torch.bfloat16)
        ready = prepare(model, pipeline, Concept("Rust", "style", ("Rust",), None, ()), config)
        training = Training(
            ready.student, model.schedule, ready.embeddings, config, (rows, *ready.latent), folder,
            folder / "log.jsonl", open_tracker(config, folder, Silent()), Watch(), lambda: False,
        )  # fmt: skip
        with suppress(_Enough):
            train(training)
    last = seen[-1]
    print(json.dumps(last, indent=1), file=sys.stderr)
    kernels = last["kernels"]
    return {
        "kernels": sum(kernels.values()),
        "casts": sum(kernels.get(each, 0) for each in CASTS),
        "waits": sum(last["waits"].values()),
        "copies": sum(last["copies"].values()),
        "bytes copied": last["copied"],
        "peak, GB": last["peak"] / 1e9,
        "kept between steps, GB": last["now"] / 1e9,
    }


if __name__ == "__main__":
    main()
