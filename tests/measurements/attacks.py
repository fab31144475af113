"""What comes back under attack: six concepts erased in three ways, by each attack.

    python tests/measurements/attacks.py [--concepts A,B] [--sides default,exact,edit]
        [--method all] [--budget quick] [--n 20] [--work FOLDER]

Everything goes through the public command line on the pocket model. ``default`` is the preset,
``exact`` the paper's trajectory until 19 of 20 probes are clean, ``edit`` the closed form alone.
What is in FOLDER is not done again, an unfinished attack is resumed; the table is printed after
each model.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from tests.measurements.results import Document, kept, show, table

CONCEPTS = ("Abstractionism", "Van_Gogh", "Mosaic", "Dogs", "Butterfly", "Towers")
SIDES = {
    "default": (),
    "edit": ("--warm-start", "--iterations", "0"),
    "exact": (
        "--preset", "pocket-cold", "--trajectory", "exact", "--batch-size", "1",
        "--ddim-steps", "50", "--iterations", "600", "--until", "UA>=95", "--probe-every", "5",
    ),
}  # fmt: skip


def main() -> None:
    """Measure what is missing, and print the table as it grows."""
    arguments = _arguments()
    results: dict[str, dict[str, list[Document]]] = {}
    for concept in arguments.concepts.split(","):
        for side in arguments.sides.split(","):
            run = _erased(concept, side, arguments.work)
            for result in _attacked(run, arguments):
                results.setdefault(result["attack"], {}).setdefault(side, []).append(result)
            columns = ("attack", *arguments.sides.split(","), "seconds a model")
            show(table(columns, _rows(results, arguments)), arguments.work / "table.md")


def _rows(
    results: dict[str, dict[str, list[Document]]], arguments: argparse.Namespace
) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    sides = arguments.sides.split(",")
    first = next(iter(results.values()), {})
    rows.append(("none", *(_before(first.get(side, [])) for side in sides), None))
    for attack, by_side in sorted(results.items()):
        every = [each for side in by_side.values() for each in side]
        seconds = sum(each["seconds"] for each in every) / len(every)
        rows.append((attack, *(_rate(by_side.get(side, [])) for side in sides), seconds))
    return rows


def _before(results: list[Document]) -> str:
    return _joined([each["before_rate"]["percent"] for each in results])


def _rate(results: list[Document]) -> str:
    return _joined([each["asr"]["percent"] for each in results])


def _joined(percents: list[float]) -> str:
    """The mean over concepts, and each concept's."""
    if not percents:
        return "-"
    return f"{sum(percents) / len(percents):.0f} ({', '.join(f'{p:.0f}' for p in percents)})"


def _erased(concept: str, side: str, work: Path) -> Path:
    """The run folder of an erasure."""

    def train() -> Document:
        command = ["train", "--model", "pocket", "--concept", concept, *SIDES[side], "--quiet"]
        return {"run": _esdctl(work, *command, "--no-contact-sheet").strip()}

    found = kept(work / "erasures" / f"{concept}-{side}.json", train)
    return Path(str(found["run"]))


def _attacked(run: Path, arguments: argparse.Namespace) -> list[Document]:
    command = ["attack", str(run), "--method", arguments.method, "--budget", arguments.budget]
    text = _esdctl(arguments.work, *command, "--n", str(arguments.n), "--json")
    results = json.loads(text)
    assert isinstance(results, list)
    return results


def _esdctl(work: Path, *command: str) -> str:
    whole = [sys.executable, "-m", "esdctl", *command, "--root", str(work)]
    return subprocess.run(whole, check=True, stdout=subprocess.PIPE, text=True).stdout


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--concepts", default=",".join(CONCEPTS), help="names, with commas")
    parser.add_argument("--sides", default=",".join(SIDES), help="default, exact, edit")
    parser.add_argument("--method", default="all", help="as esdctl attack takes it")
    parser.add_argument("--budget", default="quick", help="as esdctl attack takes it")
    parser.add_argument("--n", type=int, default=20, help="cases")
    parser.add_argument("--work", type=Path, default=Path("attacks"), help="a folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
