"""Pocket's 13 styles and 20 objects, from an empty folder to the results page, through two kills.

    python tests/measurements/sweep.py [--workers 2] [--protocol FILE] [--work FOLDER]

Plans all names, runs them by local workers, kills one worker (SIGKILL) when a quarter of the jobs
is done and the sweep itself when half of them is, starts it again, and makes the page. Prints the
time of all this together, and mean and spread by kind. The folder must be empty.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.measurements.results import Document, show, table

PROTOCOL = Path(__file__).with_name("fewer_steps.yaml")
COLUMNS = ("kind", "jobs", "UA, %", "IRA, % of base", "CRA, % of base", "s of training")


def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--protocol", type=Path, default=PROTOCOL)
    parser.add_argument("--work", type=Path, default=Path("outputs/sweep_of_pocket"))
    arguments = parser.parse_args()
    work: Path = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    assert not any(work.iterdir()), f"{work} is not empty"
    began = time.perf_counter()
    manifest = work / "sweep.jsonl"
    _esdctl(
        work, "plan", "--all-styles", "--all-objects", "--model", "pocket", "--protocol",
        str(arguments.protocol.resolve()), "-o", str(manifest),
    )  # fmt: skip
    jobs = len(manifest.read_text(encoding="utf-8").splitlines())
    run = ("run", str(manifest), "--workers", str(arguments.workers))
    kills = _killed_twice(work, run, jobs)
    _esdctl(work, *run)
    _esdctl(work, "report", str(manifest))
    seconds = time.perf_counter() - began
    found = json.loads(_esdctl(work, "results", str(manifest), "--json"))
    repeated = sum(count > 1 for count in _attempts(work).values())
    text = table(COLUMNS, [_row(group) for group in found["groups"]])
    text += f"\n{jobs} jobs, {arguments.workers} workers, {seconds:.0f} s in all; {kills}; "
    text += f"{repeated} jobs were taken more than once.\n"
    show(text, work / "sweep.md")


def _esdctl(work: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "esdctl", "sweep", *arguments, "--root", str(work)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _killed_twice(work: Path, run: tuple[str, ...], jobs: int) -> str:
    command = [sys.executable, "-m", "esdctl", "sweep", *run, "--root", str(work)]
    sweep = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _wait_for(work, jobs // 4, sweep)
    worker = _a_worker(work)
    os.kill(worker, signal.SIGKILL)
    first = _done(work)
    _wait_for(work, jobs // 2, sweep)
    second = _done(work)
    sweep.kill()
    sweep.wait()
    return f"a worker was killed after {first} jobs, the sweep after {second}"


def _wait_for(work: Path, count: int, sweep: "subprocess.Popen[bytes]") -> None:
    while _done(work) < count:
        assert sweep.poll() is None, "the sweep ended"
        time.sleep(0.2)


def _done(work: Path) -> int:
    return len(list(work.glob("outputs/sweep/*/*/result.json")))


def _a_worker(work: Path) -> int:
    """The process that took a job last and has not finished it."""
    begun: dict[Path, Document] = {}
    for path, rows in _rows(work).items():
        if rows[-1]["end"] is None:
            begun[path] = rows[-1]
    last = max(begun.values(), key=lambda row: str(row["began"]))
    return int(str(last["worker"]).rsplit("-", 1)[1])


def _rows(work: Path) -> dict[Path, list[Document]]:
    return {
        path: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in work.glob("outputs/sweep/*/*/attempts.jsonl")
    }


def _attempts(work: Path) -> dict[Path, int]:
    return {path: max(int(row["number"]) for row in rows) for path, rows in _rows(work).items()}


def _row(group: Document) -> tuple[object, ...]:
    figures = [_cell(group["figures"][name]) for name in ("ua", "ira", "cra", "training_seconds")]
    return (group["kind"], group["n"], *figures)


def _cell(spread: Document | None) -> str:
    if spread is None:
        return "-"
    return f"{spread['mean']:.1f} ± {spread['deviation'] or 0.0:.1f}"


if __name__ == "__main__":
    main()
