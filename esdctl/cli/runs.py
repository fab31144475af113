"""``esdctl runs``: what was erased here; removing runs, and repeating one."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.command import CommandGroup, warn_of_unread_variables
from esdctl.cli.completion import complete_run
from esdctl.cli.options import (
    DryRunOption,
    JsonLinesOption,
    JsonOption,
    OutputOption,
    QuietOption,
    RootOption,
)
from esdctl.cli.output import print_json, print_json_line, print_line, print_path
from esdctl.cli.terminal import reporting, show_table
from esdctl.errors import CheckFailed, Interrupted, UsageError
from esdctl.storage.workspace import Workspace, find_workspace

if TYPE_CHECKING:
    from esdctl.erasing.runs import Summary
    from esdctl.evaluation.known import KnownUa

app = CommandGroup(
    name="runs",
    help="List what was erased here; rm removes runs, rerun repeats one.",
    invoke_without_command=True,
)


@app.callback()
def runs(
    context: typer.Context,
    root: RootOption = None,
    json: JsonOption = False,
    jsonl: JsonLinesOption = False,
    quiet: QuietOption = False,
) -> None:
    """List what was erased here: prints each run's folder, and a table on stderr.

    UA is that of the largest evaluation that is on disk.
    """
    if context.invoked_subcommand is not None:
        return None
    warn_of_unread_variables(context)
    from esdctl.erasing.runs import list_runs

    if json and jsonl:
        raise UsageError("--json and --jsonl exclude each other")
    workspace = find_workspace(root)
    with reporting(quiet) as reporter:
        found = [(run, _ua(run, workspace)) for run in list_runs(workspace, reporter)]
        if not found:
            reporter.notice(f"no runs in {workspace.outputs / 'runs'}; esdctl train makes one")
    documents = [_document(run, ua) for run, ua in found]
    if json:
        return print_json(documents)
    if jsonl:
        for document in documents:
            print_json_line(document)
        return None
    if found and not quiet:
        _show(found)
    for run, _ in found:
        print_path(Path(run.path))


@app.command("rm")
def remove(
    names: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Names or folders.", autocompletion=complete_run),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    root: RootOption = None,
    dry_run: DryRunOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove run folders for good; prints each that is gone.

    Asks on a terminal; elsewhere --yes is needed. Only run folders are removed, and links in them
    are not followed.
    """
    from esdctl.erasing.runs import find_removable, remove_run
    from esdctl.storage.disk_space import size_of_folder

    paths = find_removable(names, find_workspace(root))
    if dry_run:
        for path in paths:
            print_path(path)
        return
    if not yes:
        _ask(f"remove {', '.join(path.name for path in paths)}", sum(map(size_of_folder, paths)))
    with reporting(quiet) as reporter:
        for path in paths:
            remove_run(path, reporter)
            print_path(path)


@app.command()
def rerun(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="Its name or folder.", autocompletion=complete_run),
    ],
    allow: Annotated[
        float,
        typer.Option("--allow", min=0.0, help="The largest difference of a value that passes."),
    ] = 0.0,
    output: OutputOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a run again with the same settings, and compare; prints the new folder.

    Exit 1 if a value differs by more than --allow. On one machine runs are equal to the last bit on
    the CPU; another processor, device or version may round differently.
    """
    from esdctl.cli.interrupt import stopping_on_interrupt
    from esdctl.erasing.rerun import plan_rerun
    from esdctl.erasing.rerun import rerun as repeat
    from esdctl.evaluation.probe import prober_of

    workspace = find_workspace(root)
    with reporting(quiet) as reporter:
        first, plan = plan_rerun(Path(run), output, workspace, reporter)
        with stopping_on_interrupt(reporter) as stop:
            prober = prober_of(plan, workspace.models)
            hardener = None
            if plan.config.harden:
                from esdctl.attacks.harden import hardener_of

                hardener = hardener_of(plan, workspace.models, reporter)
            compared = repeat(first, plan, sys.argv, reporter, stop, prober, hardener)
        outcome = (
            f"all {compared.tensors} tensors are equal to the last bit"
            if compared.is_equal
            else f"{compared.differing} of {compared.tensors} tensors differ, "
            f"by {compared.largest:.3g} at most"
        )
        reporter.notice(outcome)
    if json:
        print_json(compared.document())
    else:
        print_line(compared.rerun)
    if compared.largest > allow:
        raise CheckFailed(outcome, "another processor, device or version rounds differently")


def _ua(run: "Summary", workspace: Workspace) -> "KnownUa | None":
    from esdctl.erasing.run_folder import RunFolder
    from esdctl.evaluation.known import known_ua

    delta = RunFolder(Path(run.path)).delta
    folder = workspace.outputs / "evaluations"
    return known_ua(delta, run.base_sha256, run.concept, folder)


def _document(run: "Summary", ua: "KnownUa | None") -> dict[str, object]:
    known = None if ua is None else asdict(ua)
    return {**run.document(), "ua": known}


def _show(found: "list[tuple[Summary, KnownUa | None]]") -> None:
    from rich.filesize import decimal

    rows = [
        (
            run.name,
            run.concept,
            Path(run.base).name or run.base,
            run.time[:10],
            "-" if ua is None else f"{ua.percent:.1f} %",
            decimal(run.bytes),
            "finished" if run.is_finished else f"step {run.steps} of {run.iterations}",
        )
        for run, ua in found
    ]
    columns = ("run", "concept", "from", "date", "UA", "size", "state")
    show_table("Runs", columns, rows, is_text=True)


def _ask(what: str, size: int) -> None:
    """Let the user confirm on the terminal.

    Raises:
        UsageError: nobody is there to ask.
        Interrupted: the answer is no.
    """
    from rich.filesize import decimal

    if not sys.stdin.isatty():
        raise UsageError(f"not sure to {what}", "pass --yes; there is no terminal to ask on")
    if not typer.confirm(f"{what} ({decimal(size)})?", err=True):
        raise Interrupted("nothing was removed")
