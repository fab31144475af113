"""What an erasure costs concepts that it was not told to keep, and wordings that nobody trained.

    python tests/measurements/held_out.py [FOLDER] [CONCEPT ...]

Erases each concept from pocket twice: once with all other concepts retained, which is the default,
and once with every second of them. Each is evaluated under `pocket` and `pocket-held-out`, beside
the base in the same run. Prints a Markdown table: UA, and IRA and CRA in percent of the base's, of
what was retained by name and of what was not. Can be stopped and started again.
"""

import json
import subprocess
import sys
from pathlib import Path

CONCEPTS = ("Mosaic", "Rust", "Dogs")
OBJECTS_OF_A_STYLE = 7  # pictures that a held-out evaluation of all 20 would take hours for
SEVERAL = 3


def main() -> None:
    """Run what is missing, and print the table."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("held-out")
    concepts = sys.argv[2:] or CONCEPTS
    print(
        "| concept | retained | protocol | UA | IRA kept | IRA not kept | CRA kept | CRA not kept |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for concept in concepts:
        for share in ("all", "half"):
            run = _train(concept, share, folder)
            for protocol in ("pocket", "pocket-held-out"):
                figures = _evaluate(run, concept, protocol, folder)
                cells = _cells(figures, concept)
                print(f"| {concept} | {share} | {protocol} | {' | '.join(cells)} |", flush=True)


def _train(concept: str, share: str, folder: Path) -> str:
    if share == "all":
        return _esdctl("train", "--concept", concept, "--root", str(folder), "--quiet").strip()
    names = [name for name in _names() if name != concept][::2]
    keep = [argument for name in names for argument in ("--retain", name)]
    return _esdctl(
        "train", "--concept", concept, "--no-retain-all", *keep, "--root", str(folder), "--quiet"
    ).strip()


def _evaluate(run: str, concept: str, protocol: str, folder: Path) -> dict[str, object]:
    styles, objects = _pocket()
    # Every third object and style, so that the kept and the others are both among them.
    chosen = objects[::SEVERAL] if concept in styles else [concept, *objects[::SEVERAL]]
    options = ["--objects", ",".join(dict.fromkeys(chosen))]
    found: dict[str, object] = json.loads(
        _esdctl(
            "evaluate", "--model", run, "--protocol", protocol, *options, "--root", str(folder),
            "--json", "--quiet",
        )
    )  # fmt: skip
    return found


def _cells(figures: dict[str, object], concept: str) -> list[str]:
    def shown(percent: object) -> str:
        return f"{percent['percent']:.0f} (n {percent['n']})" if isinstance(percent, dict) else "-"

    unlearning, whole, groups = (
        figures[key][concept] if isinstance(figures[key], dict) and figures[key] else None  # type: ignore[index]
        for key in ("unlearning", "percent_of_base", "by_group")
    )
    cells = [shown(unlearning["ua"])]
    for name in ("ira", "cra"):
        if groups is None:
            cells += [shown(whole[name]), "-"]
        else:
            cells += [shown(groups["retained"][name]), shown(groups["not retained"][name])]
    return cells


def _names() -> list[str]:
    styles, objects = _pocket()
    return [*styles, *objects]


def _pocket() -> tuple[list[str], list[str]]:
    plan = json.loads(
        _esdctl("evaluate", "--model", "pocket", "--dry-run", "--no-estimate", "--json")
    )
    return plan["styles"], plan["objects"]


def _esdctl(*arguments: str) -> str:
    command = [sys.executable, "-m", "esdctl", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


if __name__ == "__main__":
    main()
