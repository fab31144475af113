"""Erases three styles and three objects with default settings, and prints what each took and left.

    python tests/benchmarks/six_concepts.py [--concepts A,B] [--seeds 188] [--output FOLDER]

Every concept is trained and evaluated by the public command line, one after the other. A finished
concept is kept in FOLDER and not measured again; an unfinished training is resumed. So give a new
FOLDER when the model or the default settings have changed. The table goes to stdout and to
FOLDER/six_concepts.md.
"""

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from esdctl.storage.atomic import write_json, write_text
from esdctl.storage.provenance import collect

CONCEPTS = ("Abstractionism", "Van_Gogh", "Mosaic", "Dogs", "Butterfly", "Towers")
COLUMNS = (
    "concept", "kind", "training, s", "UA, %", "base's UA, %", "IRA, % of base",
    "CRA, % of base", "base's IRA / CRA, %", "pictures",
)  # fmt: skip

Document = dict[str, Any]  # JSON


def main() -> None:
    """Measure what is missing, then print the table."""
    arguments = _arguments()
    folder = arguments.output.resolve()
    results = [_measured(name, arguments.seeds, folder) for name in arguments.concepts.split(",")]
    text = _report(results)
    write_text(folder / "six_concepts.md", text)
    print(text, end="")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--concepts", default=",".join(CONCEPTS), help="names, with commas")
    parser.add_argument("--seeds", default="188", help="as of esdctl evaluate, such as 0-4")
    parser.add_argument("--output", type=Path, default=Path("outputs/six_concepts"))
    return parser.parse_args()


def _measured(concept: str, seeds: str, folder: Path) -> Document:
    """A concept's result, from the folder or new."""
    path = folder / f"{concept}-seeds-{seeds}.json"
    if path.exists():
        print(f"{concept}: kept in {path}", file=sys.stderr)
        return _as_document(path.read_text(encoding="utf-8"))
    training = _trained(concept, folder)
    report = _esdctl("evaluate", "--model", training["run"], "--seeds", seeds, "--root", folder)
    provenance = {**collect(sys.argv), "cpu": _cpu_name()}
    result = {"training": training, "report": report, "provenance": provenance}
    write_json(path, result)
    return result


def _trained(concept: str, folder: Path) -> Document:
    """What ``train`` says of a finished run."""
    run = folder / "runs" / concept
    kept = folder / "runs" / f"{concept}.json"
    if kept.exists():
        return _as_document(kept.read_text(encoding="utf-8"))
    if (run / "run.json").exists():
        training = _esdctl("train", "--resume", run)
    else:
        training = _esdctl(
            "train", "--model", "pocket", "--concept", concept, "--output", run, "--root", folder
        )
    write_json(kept, training)
    return training


def _esdctl(command: str, *arguments: object) -> Document:
    """Run a command with ``--json``; progress goes to this script's stderr."""
    line = [sys.executable, "-m", "esdctl", command, "--json", *map(str, arguments)]
    print(" ".join(line), file=sys.stderr, flush=True)
    process = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    return _as_document(process.stdout)


def _as_document(text: str) -> Document:
    document = json.loads(text)
    assert isinstance(document, dict)
    return document


def _report(results: list[Document]) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(_row(result) for result in results)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    settings = results[0]["report"]["settings"]
    provenance = results[0]["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())
    return (
        f"{table}\n"
        "Brackets hold 95 % intervals (Wilson; Bonett and Price for ratios to the base on the same "
        "pictures).\n"
        f"UA is measured on the target's pictures, IRA and CRA on all others. "
        f"{settings['steps']} DDIM steps, guidance {settings['guidance']:g}, "
        f"{settings['image_size']} px, seeds {results[0]['report']['seeds']}.\n"
        f"{provenance['cpu']}, {provenance['cpu_count']} cores; {versions}; "
        f"{datetime.now(UTC).date().isoformat()}.\n"
    )


def _row(result: Document) -> tuple[str, ...]:
    report = result["report"]
    mine, base = report["model"]["unlearning"], report["base"]["unlearning"]
    return (
        report["target"]["name"].replace("_", " "),
        report["target"]["kind"],
        f"{result['training']['seconds']:.0f}",
        _cell(mine["ua"]),
        f"{base['ua']['percent']:.1f}",
        _cell(report["percent_of_base"]["ira"]),
        _cell(report["percent_of_base"]["cra"]),
        f"{base['ira']['percent']:.1f} / {base['cra']['percent']:.1f}",
        f"{mine['ua']['n']} + {mine['ira']['n']}",
    )


def _cell(figure: Document) -> str:
    return f"{figure['percent']:.1f} [{figure['low']:.1f}, {figure['high']:.1f}]"


def _cpu_name() -> str:
    """The processor's name as Linux tells it, else as Python does."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else os.uname().machine


if __name__ == "__main__":
    main()
