"""UA, IRA and CRA with frozen layers in 8 and in 4 bits, on pocket-flow.

    python tests/measurements/quantized.py [--concepts A,B] [--seeds 0,1] [--pairs N]
        [--work FOLDER]

The other settings are those of the preset ``pocket-flow``, the figures those of ``flow_groups.py``:
erased in the base in full precision. How far a delta is off the one of the same seed without
quantisation is told as |a - b| / |a|. It needs bitsandbytes. What was measured is kept in FOLDER.
"""

import argparse
from functools import partial
from pathlib import Path

import torch

import esdctl
from esdctl.checkpoints.changes.delta import read_delta
from esdctl.models.named import EMBEDDED
from esdctl.models.resolve import Pipeline
from esdctl.pocket.canvas import OBJECTS, STYLE_NAMES
from esdctl.progress import Silent
from tests.measurements.flow_groups import ALIKE, OTHERS, STEPS
from tests.measurements.results import Document, kept, show, table

FORMS = (None, "int8", "nf4")
COLUMNS = (
    "frozen layers", "concept", "seed", "UA, %", "IRA, % of base", "CRA, % of base",
    "training, s", "delta off, %",
)  # fmt: skip


def main() -> None:
    """Measure what is missing, then print the table."""
    arguments = _arguments()
    torch.set_num_threads(1)
    rows: list[tuple[object, ...]] = []
    for form in FORMS:
        for concept in arguments.concepts.split(","):
            for seed in map(int, arguments.seeds.split(",")):
                measure = partial(_measured, form, concept, seed, arguments.pairs, arguments.work)
                name = _name(form, concept, seed, arguments.pairs)
                found = kept(arguments.work / f"{name}.json", measure)
                figures = (round(found[key], 1) for key in ("ua", "ira", "cra", "seconds", "off"))
                rows.append((form or "fp32", concept.replace("_", " "), seed, *figures))
    show(table(COLUMNS, rows), arguments.work / "quantized.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--concepts", default="Mosaic,Dogs", help="names, with commas")
    parser.add_argument("--seeds", default="0,1", help="numbers, with commas")
    parser.add_argument("--pairs", type=int, default=64, help="the preset's are 64 for a style")
    parser.add_argument("--work", type=Path, default=Path("outputs/quantized"))
    arguments = parser.parse_args()
    arguments.work = arguments.work.resolve()
    return arguments


def _name(form: str | None, concept: str, seed: int, pairs: int) -> str:
    return f"{concept}-{form or 'fp32'}-{seed}-{pairs}"


def _measured(form: str | None, concept: str, seed: int, pairs: int, work: Path) -> Document:
    output = work / "runs" / _name(form, concept, seed, pairs)
    run = esdctl.erase(
        "pocket-flow", concept, output=output, root=work, contact_sheet=False, seed=seed,
        reporter=Silent(), quantize_frozen=form, pairs=pairs,
    )  # fmt: skip
    kinds = {"styles": STYLE_NAMES, "objects": OBJECTS}
    own, other = ("objects", "styles") if concept in OBJECTS else ("styles", "objects")
    alike = [concept, *[each for each in kinds[own] if each != concept][: ALIKE - 1]]
    grid = {own: alike, other: kinds[other][:OTHERS]}
    report = run.evaluate(**grid, steps=STEPS, reporter=Silent()).document()
    (target,) = report["unlearning"]  # its name
    figures = {"ua": report["unlearning"][target]["ua"]["percent"]}
    figures |= {key: report["percent_of_base"][target][key]["percent"] for key in ("ira", "cra")}
    plain = work / "runs" / _name(None, concept, seed, pairs)
    seconds = run.folder.training_seconds()
    return {**figures, "seconds": seconds, "off": 100 * _off(plain, output)}


def _off(plain: Path, other: Path) -> float:
    """How far a delta's changes are off another's."""
    base = Pipeline("pocket-flow", EMBEDDED["pocket-flow"]).files.read("transformer")
    changes = [
        torch.cat([(value - base[name]).flatten() for name, value in sorted(delta.items())])
        for delta in (read_delta(run / "delta.safetensors") for run in (plain, other))
    ]
    return float((changes[1] - changes[0]).norm() / changes[0].norm())


if __name__ == "__main__":
    main()
