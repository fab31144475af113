"""``esdctl diff``: which tensors of two models differ, and by how much."""

from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.options import (
    BaseModelOption,
    JsonOption,
    QuietOption,
    RootOption,
    SupplierOption,
)
from esdctl.cli.output import print_json, print_line
from esdctl.cli.terminal import reporting, show_table
from esdctl.counting import counted

if TYPE_CHECKING:
    from esdctl.checkpoints.changes.diff import Difference

_SHOWN = 60  # modules in the table; JSON has all


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="A model, a run or a delta.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another, in whatever layout.")],
    base: BaseModelOption = None,
    pipeline: SupplierOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare two models tensor by tensor; print the names of those that differ.

    Names are diffusers', so a CompVis checkpoint compares with a pipeline folder.

    Example: esdctl diff pocket outputs/runs/Rust-xattn-1a2b3c4d
    """
    from esdctl.checkpoints.changes.diff import compare
    from esdctl.models.erased import open_both
    from esdctl.storage.workspace import find_workspace

    workspace = find_workspace(root)
    with reporting(quiet) as reporter:
        one, two = open_both((first, second), workspace, base, reporter, pipeline)
    difference = compare(one.parts(), two.parts())
    if not quiet:
        _show(difference)
    if json:
        return print_json(difference.document())
    for tensor in difference.tensors:
        print_line(tensor.name)
    for name in (*difference.only_in_first, *difference.only_in_second, *difference.misshapen):
        print_line(name)
    return None


def _show(difference: "Difference") -> None:
    """The modules that differ most, as a table on stderr."""
    modules = sorted(difference.modules, key=lambda module: -module.relative)
    rows = [
        (
            module.module,
            f"{module.changed}/{module.tensors}",
            f"{module.parameters:,}",
            f"{module.largest:.3g}",
            f"{module.relative:.3g}",
        )
        for module in modules[:_SHOWN]
    ]
    if len(modules) > _SHOWN:
        rows.append((f"{len(modules) - _SHOWN} more modules", "", "", "", ""))
    odd = {
        "only in A": difference.only_in_first,
        "only in B": difference.only_in_second,
        "other shape": difference.misshapen,
    }
    rows += [(what, str(len(names)), "", "", "") for what, names in odd.items() if names]
    title = f"{counted(len(difference.tensors), 'tensor')} changed, {difference.same:,} equal"
    show_table(title, ("module", "tensors", "parameters", "largest", "relative"), rows)
