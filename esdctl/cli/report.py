"""``esdctl report``: one page about erasures, to read, to print and to hand on."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.options import QuietOption, RootOption
from esdctl.cli.output import print_path
from esdctl.cli.terminal import reporting
from esdctl.errors import UsageError
from esdctl.storage.workspace import find_workspace

if TYPE_CHECKING:
    from esdctl.evaluation.report.page import Blur

_BLURS = ("all", "unsafe", "none")


def report(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Names or folders.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Else outputs/report.html of the workspace."
        ),
    ] = None,
    blur: Annotated[
        str,
        typer.Option("--blur", metavar="all|unsafe|none", help="Pictures blurred until clicked."),
    ] = "unsafe",
    root: RootOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write a page about runs; print its path.

    Verdict, pictures, figures, attacks, provenance: one HTML file that needs no network. What was
    not measured yet is said, with the command that measures it. Several runs are compared.

    Example: esdctl report Dogs -o report.html
    """
    from esdctl.evaluation.report.page import make_page
    from esdctl.evaluation.report.run import read_run
    from esdctl.models.named import run_path
    from esdctl.storage.atomic import write_text

    workspace = find_workspace(root)
    chosen = _blur(blur)
    path = output or workspace.outputs / "report.html"
    if path.is_dir():
        raise UsageError(f"--output {path} is a folder", f"name a file: {path / 'report.html'}")
    with reporting(quiet) as reporter:
        folders = dict.fromkeys(run_path(Path(name), workspace) for name in runs)
        found = [read_run(folder, workspace) for folder in folders]
        for run in found:
            if not run.figures:
                reporter.notice(f"{run.name} is not evaluated: esdctl evaluate --model {run.name}")
        write_text(path, make_page(found, sys.argv, chosen))
    print_path(path)


def _blur(text: str) -> "Blur":
    for choice in _BLURS:
        if text == choice:
            return choice  # type: ignore[return-value]
    raise UsageError(f"--blur is {text!r}", f"choose one of {', '.join(_BLURS)}")
