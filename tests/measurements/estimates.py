"""How near the estimates of dry runs come to what the commands then take.

    python tests/measurements/estimates.py [--commands train,sample,evaluate] [--work FOLDER]

Each command runs twice on the pocket model, in processes that are watched from outside: with
``--dry-run``, then for real. Time is from the process's start to its end, less the interpreter's
own start; memory is the peak of what was resident (Linux).
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from tests.measurements.results import Document, kept, show, table

COMMANDS = {
    "train a style": ("train", "--model", "pocket", "--concept", "Mosaic", "--iterations", "60"),
    "train an object": ("train", "--model", "pocket", "--concept", "Dogs", "--iterations", "40"),
    "train, exact": (
        "train", "--model", "pocket", "--concept", "Rust", "--iterations", "25",
        "--trajectory", "exact", "--batch-size", "1", "--ddim-steps", "50",
    ),
    "sample": ("sample", "--model", "pocket", "--prompt", "A Dogs image.", "--seeds", "0-39"),
    "evaluate": ("evaluate", "--model", "pocket", "--styles", "Mosaic,Rust,Winter"),
}  # fmt: skip
WITHIN = 0.2


def main() -> None:
    """Measure what is missing, then print the table."""
    arguments = _arguments()
    work: Path = arguments.work.resolve()
    rows: list[tuple[object, ...]] = []
    for name, command in COMMANDS.items():
        if arguments.commands and command[0] not in arguments.commands.split(","):
            continue
        label = name.replace(",", "").replace(" ", "-")

        def both(command: tuple[str, ...] = command, label: str = label) -> Document:
            more = ("--root", str(work / label), "--json")
            estimate = _dry(command, more)
            seconds, peak = _watched((*command, *more))
            return {"estimate": estimate, "seconds": seconds, "peak": peak}

        found = kept(work / f"{label}.json", both)
        estimate = found["estimate"]
        off = estimate["seconds"] / found["seconds"] - 1
        memory_off = estimate["peak_memory_bytes"] / found["peak"] - 1
        rows.append(
            (name, estimate["seconds"], found["seconds"], f"{100 * off:+.0f} %",
             estimate["peak_memory_bytes"] / 1e6, found["peak"] / 1e6,
             f"{100 * memory_off:+.0f} %", max(abs(off), abs(memory_off)) <= WITHIN)
        )  # fmt: skip
    columns = (
        "command", "estimate, s", "took, s", "off by", "estimate, MB", "peak, MB", "off by",
        "within 20 %",
    )  # fmt: skip
    show(table(columns, rows), work / "estimates.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--commands", help="of train, sample, evaluate; else all")
    parser.add_argument("--work", type=Path, default=Path("outputs/estimates"))
    return parser.parse_args()


def _dry(command: tuple[str, ...], more: tuple[str, ...]) -> Document:
    line = [sys.executable, "-m", "esdctl", *command, *more[:2], "--dry-run", "--json"]
    process = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    document: Document = json.loads(process.stdout)["estimate"]
    return document


def _watched(arguments: tuple[str, ...]) -> tuple[float, int]:
    """Seconds and peak resident bytes of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "esdctl", *arguments], stdout=subprocess.DEVNULL
    )
    status, peak = Path(f"/proc/{process.pid}/status"), 0
    while process.poll() is None:
        try:
            lines = status.read_text(encoding="ascii").splitlines()
        except (FileNotFoundError, ProcessLookupError):
            lines = []
        sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
        peak = max(peak, *sizes, 0)
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"esdctl {' '.join(arguments)} failed")
    return time.perf_counter() - began, peak


if __name__ == "__main__":
    main()
