"""Seconds and memory of ``train --method edit`` on a full-size SD 1.x, from file to delta.

    python tests/measurements/editing.py [--counts 1,100,1000] [--caches empty,filled]
        [--work FOLDER]

Writes a checkpoint with random weights of SD 1.x's real sizes (CompVis, fp32, 4.3 GB), once, and
edits it in a process of its own for each count of concepts, on the CPU: first with an empty cache,
which also takes the model's digest and reads the corpus, then again with it. Time is the whole
command's; memory the peak that was resident, mapped pages of the files included.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from esdctl.datasets.corpus.prompts import words
from tests.checkpoints.full_size_file import write_full_size
from tests.measurements.results import Document, kept, show, table

COLUMNS = ("concepts", "cache", "s", "s of processors", "s of the edit", "peak memory, GB")


def main() -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--counts", default="1,100,1000")
    parser.add_argument("--caches", default="empty,filled")
    parser.add_argument("--work", type=Path, default=Path("outputs/editing"))
    arguments = parser.parse_args()
    work: Path = arguments.work.resolve()
    checkpoint = work / "sd1.safetensors"
    if not checkpoint.exists():
        work.mkdir(parents=True, exist_ok=True)
        write_full_size(checkpoint)
    rows: list[tuple[object, ...]] = []
    for count in map(int, arguments.counts.split(",")):
        names = list(dict.fromkeys(name for listed in words().values() for name in listed))
        names += [f"{name} at night" for name in names]
        table_of = work / f"{count}.csv"
        lines = "".join(f'"{name}","An image of {name}."\n' for name in names[:count])
        table_of.write_text(f"name,prompt\n{lines}", encoding="utf-8")
        for cache in arguments.caches.split(","):

            def measured(table_of: Path = table_of, cache: str = cache) -> Document:
                return _edited(checkpoint, table_of, work, cache)

            found = kept(work / f"{count}-{cache}.json", measured)
            names_of = ("seconds", "processors", "edit", "gigabytes")
            rows.append((count, cache, *(found[name] for name in names_of)))
    show(table(COLUMNS, rows), work / "editing.md")


def _edited(checkpoint: Path, concepts: Path, work: Path, cache: str) -> Document:
    run = work / f"run-{concepts.stem}-{cache}"
    command = [
        sys.executable, "-m", "esdctl", "train", "--model", str(checkpoint), "--method", "edit",
        "--concepts", str(concepts), "--output", str(run), "--root", str(work), "--devices", "cpu",
        "--quiet",
    ]  # fmt: skip
    folder = work / f"cache-{concepts.stem}"
    environment = {**os.environ, "ESDCTL_CACHE_DIR": str(folder)}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    assert status == 0
    row = json.loads((run / "log.jsonl").read_text().splitlines()[0])
    gigabytes = used.ru_maxrss * 1024 / 1e9
    processors = used.ru_utime + used.ru_stime
    return {
        "seconds": seconds, "processors": processors, "edit": row["seconds"],
        "gigabytes": gigabytes,
    }  # fmt: skip


if __name__ == "__main__":
    main()
