"""Every goal of training on a GPU in one command, in under ten minutes, beside the plain way.

    python tests/measurements/gpu.py [--device cuda] [--model NAME|PATH] [--pairs 1000]
        [--plain-pairs 20] [--batch-sizes 1,auto] [--pictures 16] [--work FOLDER]

Without --model it writes an SD 1.x of full size with random weights to FOLDER (4.3 GB), which costs
what a real one costs. A training is the whole command, from the interpreter's start to the contact
sheet; its memory is the most that torch had in use in a step. The plain way is ``plain_esd.py`` on
diffusers at batch 1, opening left out; its pairs are few, and scaled. Without a GPU:

    python tests/measurements/gpu.py --rehearse

goes the same way with the same sizes on a device that tests/rehearsal makes believe, without
values, with few pairs of esd-x and no contact sheet; its seconds mean nothing, its memory is that
of tensors.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from esdctl.models.devices import find_device
from esdctl.models.diffusers_pipeline import as_diffusers_pipeline
from esdctl.models.memory import peak_memory
from esdctl.models.precision import find_dtype
from esdctl.models.resolve import resolve_model
from esdctl.models.stable_diffusion import load
from esdctl.models.stopwatch import synchronise
from esdctl.storage.atomic import read_jsonl
from esdctl.storage.workspace import Workspace
from esdctl.timing.isolated import isolated
from esdctl.timing.sampling_bench import diffusers_figures, our_figures
from tests.checkpoints.full_size_file import write_full_size
from tests.measurements.plain_esd import PlainEsd
from tests.measurements.results import Document, kept, show, table
from tests.rehearsal.device.build import build
from tests.rehearsal.device.runtime import environment

CONCEPT, PROMPT = "Van Gogh", "An image in Van Gogh style."
# Seconds all in all for 1,000 pairs on an H100, and gigabytes.
GOALS = {"esd-x": (30.0, 8.0), "noxattn": (60.0, 12.0)}
COLUMNS = ("what", "batch", "s all in all", "goal, s", "s a pair", "memory, GB", "goal, GB")
STEPS = 25  # DDIM, of a picture
EVERYWHERE = Path(__file__).parents[1] / "rehearsal/device/everywhere"


def main() -> None:
    """Measure what is missing, then print the table."""
    arguments = _arguments()
    if arguments.rehearse:
        return _rehearse(arguments)
    arguments.work.mkdir(parents=True, exist_ok=True)
    model = arguments.model or str(_full_size(arguments.work / "sd1.safetensors"))
    rows = [
        _training(method, batch, model, arguments)
        for method in arguments.methods.split(",")
        for batch in arguments.batch_sizes.split(",")
    ]
    rows.append(_plain(model, arguments))
    told = "".join(
        f"\n{name}: {found['s a picture']:.3f} s a picture of {STEPS} steps, "
        f"{found['peak memory, MB'] / 1e3:.1f} GB."
        for name, found in _pictures(model, arguments).items()
    )
    cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    told += f"\n{model}, {arguments.pairs} pairs; {', '.join(cards) or 'no GPU'}."
    show(table(COLUMNS, rows) + told, arguments.work / "gpu.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", help="else a full-size SD 1.x of random weights")
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--methods", default=",".join(GOALS))
    parser.add_argument("--plain-pairs", type=int, default=20, help="of the plain way")
    parser.add_argument("--batch-sizes", default="1,auto", help="of a training step")
    parser.add_argument("--pictures", type=int, default=16, help="sampled at once")
    parser.add_argument("--work", type=Path, default=Path("outputs/gpu"))
    parser.add_argument("--contact-sheet", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--rehearse", action="store_true", help="on a pretended device")
    arguments = parser.parse_args()
    arguments.work = arguments.work.resolve()
    return arguments


def _rehearse(arguments: argparse.Namespace) -> None:
    """The same command where each process believes in a GPU of 80 GB."""
    few = (
        "--pairs", "2", "--plain-pairs", "1", "--batch-sizes", "1", "--pictures", "1",
        "--methods", "esd-x", "--no-contact-sheet",
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        names = environment(
            REHEARSAL_LIBRARY=str(build(Path(folder))), REHEARSAL_META="1", REHEARSAL_DEVICES="1"
        )
        names["PYTHONPATH"] = os.pathsep.join([str(EVERYWHERE), names["PYTHONPATH"]])
        line = [sys.executable, __file__, *few, "--work", str(arguments.work)]
        subprocess.run(line, env=names, check=True)


def _full_size(path: Path) -> Path:
    if not path.exists():
        print(f"writing {path}", file=sys.stderr, flush=True)
        write_full_size(path, torch.float32)
    return path


def _training(
    method: str, batch: str, model: str, arguments: argparse.Namespace
) -> tuple[object, ...]:
    name = f"{method}-batch-{batch}"
    measure = partial(_trained, name, method, batch, model, arguments)
    found = kept(arguments.work / f"{name}.json", measure)
    seconds, gigabytes = GOALS[method]
    return (
        f"esdctl, {method}", found["batch_size"], found["wall"], seconds,
        found["seconds"] / (found["iterations"] * found["batch_size"]), found["memory"] / 1e9,
        gigabytes,
    )  # fmt: skip


def _trained(
    name: str, method: str, batch: str, model: str, arguments: argparse.Namespace
) -> Document:
    """The whole command, and what its log says."""
    line = [
        sys.executable, "-m", "esdctl", "train", "--json", "--model", model, "--concept", CONCEPT,
        "--preset", "style", "--train-method", method, "--pairs", str(arguments.pairs),
        "--batch-size", batch, "--devices", arguments.device, "--root", str(arguments.work),
        "--output", str(arguments.work / "runs" / name),
        "--contact-sheet" if arguments.contact_sheet else "--no-contact-sheet",
    ]  # fmt: skip
    began = time.perf_counter()
    process = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    wall = time.perf_counter() - began
    result = json.loads(process.stdout)
    rows = read_jsonl(Path(result["run"]) / "log.jsonl")
    memory = max(int(str(row["memory_bytes"])) for row in rows if "memory_bytes" in row)
    return {**result, "wall": wall, "memory": memory}


def _plain(model: str, arguments: argparse.Namespace) -> tuple[object, ...]:
    def measure() -> Document:
        return isolated(
            plain_seconds, model, arguments.work, arguments.device, arguments.plain_pairs
        ).value

    found = kept(arguments.work / "plain.json", measure)
    scaled = found["a_pair"] * arguments.pairs
    return ("plain ESD on diffusers", 1, scaled, None, found["a_pair"], found["memory"] / 1e9, None)


def plain_seconds(model: str, root: Path, device: str, pairs: int) -> Document:
    """Seconds of a pair by the plain way, after one that warms up, and the most memory in bytes."""
    place = find_device(device)
    dtype = find_dtype(None, place)
    pipe = as_diffusers_pipeline(load(resolve_model(model, Workspace(root)), place))
    plain = PlainEsd(pipe, PROMPT, dtype)
    plain.step(0)
    synchronise(place)
    began = time.perf_counter()
    for number in range(1, pairs + 1):
        plain.step(number)
    synchronise(place)
    return {"a_pair": (time.perf_counter() - began) / pairs, "memory": peak_memory(place)}


def _pictures(model: str, arguments: argparse.Namespace) -> dict[str, Document]:
    count = arguments.pictures
    asked = (model, arguments.work, count, STEPS, arguments.device)
    makers = {"esdctl": our_figures, "diffusers": diffusers_figures}
    return {
        f"{name}, {count} pictures at once": kept(
            arguments.work / f"pictures-{name}.json",
            lambda maker=maker: isolated(maker, *asked).value,
        )
        for name, maker in makers.items()
    }


if __name__ == "__main__":
    main()
