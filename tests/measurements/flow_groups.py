"""UA, IRA and CRA of each group of a transformer's parameters, on pocket-flow.

    python tests/measurements/flow_groups.py [--groups A,B] [--rates 3e-4,1e-3] [--concepts A,B]
        [--work FOLDER]

64 pairs; the other settings are those of the preset ``pocket-flow``. The figures are of four names
of the target's kind by ten of the other, 40 pictures of 8 steps; IRA and CRA are in percent of the
base's.
What was measured is kept in FOLDER.
"""

import argparse
from functools import partial
from pathlib import Path

import torch

import esdctl
from esdctl.pocket.canvas import OBJECTS, STYLE_NAMES
from esdctl.progress import Silent
from tests.measurements.results import Document, kept, show, table

GROUPS = (
    "text-kv", "text-attn", "picture-attn", "joint-attn", "text-stream", "esd-x-strict", "noattn",
    "full",
)  # fmt: skip
ALIKE, OTHERS, STEPS = 4, 10, 8  # names of the target's kind, of the other, steps of a picture
COLUMNS = ("group", "lr", "concept", "UA, %", "IRA, % of base", "CRA, % of base", "training, s")


def main() -> None:
    """Measure what is missing, then print the table."""
    arguments = _arguments()
    torch.set_num_threads(1)
    rows: list[tuple[object, ...]] = []
    for group in arguments.groups.split(","):
        for rate in map(float, arguments.rates.split(",")):
            for concept in arguments.concepts.split(","):
                name = f"{concept}-{group}-{rate:g}"
                measure = partial(_measured, name, concept, group, rate, arguments.work)
                found = kept(arguments.work / f"{name}.json", measure)
                figures = (round(found[key], 1) for key in ("ua", "ira", "cra", "seconds"))
                rows.append((group, rate, concept.replace("_", " "), *figures))
    show(table(COLUMNS, rows), arguments.work / "flow_groups.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--groups", default=",".join(GROUPS), help="names, with commas")
    parser.add_argument("--rates", default="3e-4,1e-3", help="learning rates")
    parser.add_argument("--concepts", default="Mosaic,Dogs", help="names, with commas")
    parser.add_argument("--work", type=Path, default=Path("outputs/flow_groups"))
    arguments = parser.parse_args()
    arguments.work = arguments.work.resolve()
    return arguments


def _measured(name: str, concept: str, group: str, rate: float, work: Path) -> Document:
    run = esdctl.erase(
        "pocket-flow", concept, output=work / "runs" / name, root=work, contact_sheet=False,
        reporter=Silent(), train_method=group, lr=rate, pairs=64,
    )  # fmt: skip
    kinds = {"styles": STYLE_NAMES, "objects": OBJECTS}
    own, other = ("objects", "styles") if concept in OBJECTS else ("styles", "objects")
    alike = [concept, *[each for each in kinds[own] if each != concept][: ALIKE - 1]]
    grid = {own: alike, other: kinds[other][:OTHERS]}
    report = run.evaluate(**grid, steps=STEPS, reporter=Silent()).document()
    (target,) = report["unlearning"]  # its name
    figures = {"ua": report["unlearning"][target]["ua"]["percent"]}
    figures |= {key: report["percent_of_base"][target][key]["percent"] for key in ("ira", "cra")}
    return {**figures, "seconds": run.folder.training_seconds()}


if __name__ == "__main__":
    main()
