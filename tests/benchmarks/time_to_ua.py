"""Wall time to UA >= 95 %: the exact trajectory at batch 1 and 50 DDIM steps, and the defaults.

    python tests/benchmarks/time_to_ua.py [--concepts A,B] [--seeds 188] [--work FOLDER]
        [--styles A,B] [--objects A,B]
        [--probe-every 5] [--until "UA>=95"] [--exact KEY=VALUE ...] [--exact-style KEY=VALUE ...]
        [--exact-object KEY=VALUE ...] [--ours KEY=VALUE ...]

Everything goes through the public command line on the pocket model: ``train --until`` with both
kinds of settings, one concept after the other, then ``evaluate`` on pictures that no probe has
seen. The time is that of the edit and of the optimiser steps, pools included, without the probes,
which are told beside. Three kinds of settings: ``exact``, without a warm start; the default ones
without a warm start, which tells what trajectory and batch alone gain; and the default ones, which
may end before their first step. The first two have the other settings of ``pocket-cold``;
``--exact`` changes more of them. A finished training and each judged picture are kept in FOLDER;
an unfinished training is resumed.
"""

import argparse
import json
import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from esdctl.datasets.unlearn_canvas import OBJECTS
from esdctl.storage.atomic import read_jsonl
from tests.benchmarks.results import Document, kept, show, table

CONCEPTS = ("Abstractionism", "Van_Gogh", "Mosaic", "Dogs", "Butterfly", "Towers")
COLD = "warm_start=false"
# The seed system's structure; the iterations are only where to give up.
EXACT = (COLD, "trajectory=exact", "batch_size=1", "ddim_steps=50", "iterations=600")
COLUMNS = (
    "concept", "settings", "s to the end", "steps", "probes, s", "UA, %", "IRA, % of base",
    "CRA, % of base", "times faster",
)  # fmt: skip


def main() -> None:
    """Measure what is missing, then print the table."""
    arguments = _arguments()
    work = arguments.work.resolve()
    rows: list[tuple[object, ...]] = []
    ratios: dict[str, list[float]] = {"cold": [], "default": []}
    overlaps: dict[str, list[bool]] = {"cold": [], "default": []}
    for concept in arguments.concepts.split(","):
        kind = "object" if concept in OBJECTS else "style"
        more = [*arguments.exact, *getattr(arguments, f"exact_{kind}")]
        sides = {
            "exact": [*EXACT, *more],
            "cold": [COLD, "iterations=600", *arguments.ours],
            "default": arguments.ours,
        }
        found = {
            side: kept(
                work / f"{concept}-{side}-seeds-{arguments.seeds}.json",
                partial(_measured, concept, side, settings, arguments, work),
            )
            for side, settings in sides.items()
        }
        exact = found["exact"]
        rows.append(_row(concept, "exact", exact, None))
        for side in ("cold", "default"):
            ours = found[side]
            ratio = exact["seconds"] / ours["seconds"]
            rows.append(_row(concept, side, ours, ratio))
            if exact["is_reached"] and ours["is_reached"]:
                ratios[side].append(ratio)
            overlaps[side] += [_not_worse(ours[name], exact[name]) for name in ("ira", "cra")]
    text = "".join(_summary(side, ratios[side], overlaps[side]) for side in ratios)
    show(table(COLUMNS, rows) + text + _told(arguments), work / "time_to_ua.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--concepts", default=",".join(CONCEPTS), help="names, with commas")
    parser.add_argument("--seeds", default="188", help="as of esdctl evaluate, such as 0-2")
    parser.add_argument("--styles", help="evaluate on these alone, for a quick look")
    parser.add_argument("--objects", help="likewise")
    parser.add_argument("--until", default="UA>=95")
    parser.add_argument("--probe-every", type=int, default=5)
    for name in ("--exact", "--exact-style", "--exact-object", "--ours"):
        parser.add_argument(name, action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--work", type=Path, default=Path("outputs/time_to_ua"))
    return parser.parse_args()


def _measured(
    concept: str, side: str, settings: list[str], arguments: argparse.Namespace, work: Path
) -> Document:
    """Train until the probe says so, then evaluate."""
    run = work / "runs" / f"{concept}-{side}"
    if (run / "run.json").exists():
        _esdctl("train", "--resume", run)
    else:
        flags = [_flag(*each.split("=", 1)) for each in settings]
        _esdctl(
            "train", "--model", "pocket", "--concept", concept, "--until", arguments.until,
            "--probe-every", arguments.probe_every, "--output", run, "--root", work, *flags,
        )  # fmt: skip
    named = {"styles": arguments.styles, "objects": arguments.objects}
    grid = [f"--{name}={value}" for name, value in named.items() if value]
    report = _esdctl("evaluate", "--model", run, "--seeds", arguments.seeds, "--root", work, *grid)
    log = read_jsonl(run / "log.jsonl")
    spent = [float(str(row["seconds"])) for row in log if "probe" not in row]
    probes = [row for row in log if "probe" in row]
    return {
        "seconds": sum(spent),
        "steps": sum("loss" in row for row in log),
        "probe_seconds": sum(float(str(row["seconds"])) for row in probes),
        "is_reached": any(row["is_reached"] for row in probes),
        "settings": settings,
        "ua": report["model"]["unlearning"]["ua"],
        **{name: report["percent_of_base"][name] for name in ("ira", "cra")},
    }


def _flag(key: str, value: str) -> str:
    name = key.replace("_", "-")
    switches = {"true": f"--{name}", "false": f"--no-{name}"}
    return switches.get(value, f"--{name}={value}")


def _esdctl(command: str, *arguments: object) -> Document:
    """Run a command with ``--json``; progress goes to this script's stderr."""
    line = [sys.executable, "-m", "esdctl", command, "--json", *map(str, arguments)]
    print(" ".join(line), file=sys.stderr, flush=True)
    process = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    document = json.loads(process.stdout)
    assert isinstance(document, dict)
    return document


def _row(concept: str, side: str, found: Document, ratio: float | None) -> tuple[object, ...]:
    seconds = round(found["seconds"], 2)
    return (
        concept.replace("_", " "),
        side,
        seconds if found["is_reached"] else f"over {seconds}",
        found["steps"],
        round(found["probe_seconds"], 1),
        *(_percent(found[name]) for name in ("ua", "ira", "cra")),
        ratio,
    )


def _percent(figure: Document) -> str:
    return f"{figure['percent']:.1f} [{figure['low']:.1f}, {figure['high']:.1f}]"


def _not_worse(ours: Document, exact: Document) -> bool:
    """Whether the 95 % intervals overlap, or ours is above."""
    return bool(ours["high"] >= exact["low"])


def _summary(side: str, ratios: list[float], overlaps: list[bool]) -> str:
    median = f"{statistics.median(ratios):.1f}" if ratios else "unknown"
    return (
        f"\n{side}: median of {len(ratios)} concepts that both reach: {median} times faster than "
        f"exact. IRA and CRA are not worse (their 95 % intervals overlap, or ours is above) in "
        f"{sum(overlaps)} of {len(overlaps)} cases."
    )


def _told(arguments: argparse.Namespace) -> str:
    return (
        f"\nTrained until {arguments.until}, probed every {arguments.probe_every} steps with 20 "
        f"pictures; evaluated with seeds {arguments.seeds}."
    )


if __name__ == "__main__":
    main()
