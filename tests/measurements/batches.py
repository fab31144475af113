"""UA, IRA and CRA at several batch sizes for equal pairs, under four rules for the rate.

    python tests/measurements/batches.py [--concepts A,B] [--train-seeds 0,1,2] [--batches 1,4,8,16]
        [--rules linear,between,sqrt,constant] [--pairs 4] [--rate 0.25]
        [--work FOLDER]

The rate belongs to the batch that the preset trains with, b: at B it is lr (B / b)^p, where p is 1
(linear), 3/4 (between), 1/2 (sqrt) or 0 (constant). Everything goes through the Python face on the
pocket model with the settings of ``pocket-cold``: the warm start's edit would hide what the steps
do. The figures are of three names of the target's kind by ten of the other, 30 pictures of 10 DDIM
steps; IRA and CRA are in percent of the base's. What was measured is kept in FOLDER.
"""

import argparse
import math
from functools import partial
from pathlib import Path

import torch

import esdctl
from esdctl.pocket.canvas import OBJECTS, STYLE_NAMES
from esdctl.progress import Silent
from tests.measurements.results import Document, kept, show, table

CONCEPTS = ("Abstractionism", "Van_Gogh", "Mosaic", "Dogs", "Butterfly", "Towers")
RULES = {"linear": 1.0, "between": 0.75, "sqrt": 0.5, "constant": 0.0}
TRAINED_WITH = 4  # latents a step of pocket-cold
PAIRS = {"style": 64, "object": 80}  # of pocket-cold, as LR is
LR = {"style": 1e-3, "object": 2e-3}
BESIDE, ACROSS, STEPS = 2, 10, 10  # other names of the target's kind, names of the other, DDIM
COLUMNS = ("batch", "rule", "UA, %", "IRA, % of base", "CRA, % of base", "least UA", "least IRA",
           "least CRA", "runs", "s a pair")  # fmt: skip


def main() -> None:
    """Measure what is missing, then print the table."""
    arguments = _arguments()
    torch.set_num_threads(1)
    rows: list[tuple[object, ...]] = []
    for batch in map(int, arguments.batches.split(",")):
        rules = arguments.rules.split(",") if batch != TRAINED_WITH else ["-"]
        for rule in rules:
            found = [
                _found(concept, int(seed), batch, rule, arguments)
                for seed in arguments.train_seeds.split(",")
                for concept in arguments.concepts.split(",")
            ]
            rows.append(_row(batch, rule, found))
    told = (
        f"\n{arguments.concepts}; training seeds {arguments.train_seeds}; {arguments.pairs:g} "
        f"times the preset's pairs and {arguments.rate:g} times its rate."
    )
    show(table(COLUMNS, rows) + told, arguments.work / "batches.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--concepts", default=",".join(CONCEPTS), help="names, with commas")
    parser.add_argument("--train-seeds", default="0,1,2", help="one training each")
    parser.add_argument("--batches", default="1,4,8,16", help="latents a step")
    parser.add_argument("--rules", default=",".join(RULES), help="names, with commas")
    parser.add_argument("--pairs", type=float, default=1.0, help="times the preset's")
    parser.add_argument("--rate", type=float, default=1.0, help="times the preset's")
    parser.add_argument("--work", type=Path, default=Path("outputs/batches"))
    arguments = parser.parse_args()
    arguments.work = arguments.work.resolve()
    return arguments


def _found(
    concept: str, seed: int, batch: int, rule: str, arguments: argparse.Namespace
) -> Document:
    """What one training gave, kept or measured."""
    kind = "object" if concept in OBJECTS else "style"
    lr = arguments.rate * LR[kind] * (batch / TRAINED_WITH) ** RULES.get(rule, 0.0)
    pairs = round(PAIRS[kind] * arguments.pairs)
    name = f"{concept}-{seed}-batch-{batch}-lr-{lr:.3g}-pairs-{pairs}"
    measure = partial(_measured, name, concept, kind, arguments.work)
    settings = {"batch_size": batch, "lr": lr, "seed": seed}
    return kept(
        arguments.work / f"{name}.json",
        partial(measure, iterations=math.ceil(pairs / batch), **settings),
    )


def _measured(name: str, concept: str, kind: str, work: Path, **settings: float) -> Document:
    run = esdctl.erase(
        "pocket", concept, preset="pocket-cold", output=work / "runs" / name, root=work,
        contact_sheet=False, reporter=Silent(), **settings,
    )  # fmt: skip
    names = {"style": STYLE_NAMES, "object": OBJECTS}
    alike = [concept, *[other for other in names[kind] if other != concept][:BESIDE]]
    other = names["object" if kind == "style" else "style"][:ACROSS]
    grid = {"styles": alike, "objects": other}
    if kind == "object":
        grid = {"styles": other, "objects": alike}
    report = run.evaluate(**grid, steps=STEPS, reporter=Silent()).document()
    (target,) = report["unlearning"]  # its name
    figures = {"ua": report["unlearning"][target]["ua"]["percent"]}
    figures |= {key: report["percent_of_base"][target][key]["percent"] for key in ("ira", "cra")}
    seconds = run.folder.training_seconds() / (settings["iterations"] * settings["batch_size"])
    return {**figures, "seconds_a_pair": seconds, "settings": settings}


def _row(batch: int, rule: str, found: list[Document]) -> tuple[object, ...]:
    """Means, and the worst of all trainings."""
    figures = [[each[key] for each in found] for key in ("ua", "ira", "cra")]
    return (
        batch,
        rule,
        *(round(sum(values) / len(values), 1) for values in figures),
        *(round(min(values), 1) for values in figures),
        len(found),
        sum(each["seconds_a_pair"] for each in found) / len(found),
    )


if __name__ == "__main__":
    main()
