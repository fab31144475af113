"""``esdctl sweep``: many erasures, on as many devices and machines as there are."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.command import CommandGroup
from esdctl.cli.options import (
    DeviceOption,
    JsonOption,
    QuietOption,
    RootOption,
)
from esdctl.cli.output import print_json, print_line, print_path
from esdctl.cli.sweep_pages import draw_plot, write_pages
from esdctl.cli.sweep_plan import plan
from esdctl.cli.sweep_tables import plain_cells, show_groups, show_progress
from esdctl.cli.terminal import reporting
from esdctl.errors import UsageError
from esdctl.storage.workspace import Workspace, find_workspace

if TYPE_CHECKING:
    from esdctl.progress import Reporter
    from esdctl.sweep.manifest import Job

app = CommandGroup(
    name="sweep",
    help="Many erasures: plan them, run them, and see what came out.",
    no_args_is_help=True,
)

app.command("plan")(plan)
ManifestArgument = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="What esdctl sweep plan wrote.")
]
AttemptsOption = Annotated[
    int, typer.Option("--max-attempts", min=1, help="After so many failures a job is given up.")
]
SECONDS_BETWEEN_LOOKS = 2.0


@app.command()
def run(
    manifest: ManifestArgument,
    engine: Annotated[
        str, typer.Option("--engine", metavar="local|slurm|ray", help="Where the workers are.")
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Erasures at once; else one a device, or one."),
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices", "--device", metavar="DEVICE,...", help="A worker on each, such as 0,1,2."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option",
            metavar="KEY=VALUE",
            help="Of the engine, such as partition=gpu; esdctl guide sweep lists them.",
        ),
    ] = None,
    max_attempts: AttemptsOption = 3,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Do the jobs of a manifest that are not done; print each result's path as it is there.

    Repeat the command after an interruption, here or with another engine: finished jobs are kept,
    an interrupted one goes on where it was. Exit 1 where a job failed --max-attempts times.

    Example: esdctl sweep run sweep.jsonl --workers 2
    """
    from esdctl.erasing.request import unused_variables
    from esdctl.settings.devices import device_name
    from esdctl.sweep.engines.engine import Run, check_options, find_engine
    from esdctl.sweep.job_folder import folder_of
    from esdctl.sweep.manifest import read_manifest
    from esdctl.sweep.progress import check_all_finished, read_progress

    workspace = find_workspace(root)
    chosen = find_engine(engine)
    options = _options(option or [])
    check_options(chosen, engine, options)
    jobs = read_manifest(manifest)

    def show(job: "Job") -> None:
        if not json:
            print_path(folder_of(job, workspace).result)

    names = tuple(device_name(name.strip()) for name in (devices or "").split(",") if name.strip())
    with reporting(quiet) as reporter:
        for note in unused_variables(os.environ, "the manifest holds the settings"):
            reporter.notice(note)
        asked = Run(
            manifest, jobs, workspace, names, workers, max_attempts, reporter, show, options
        )
        chosen.run(asked)
    progress = read_progress(jobs, workspace, max_attempts)
    if json:
        print_json(progress.document())
    check_all_finished(progress)


@app.command()
def status(
    manifest: ManifestArgument,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again, until all is done.")
    ] = False,
    max_attempts: AttemptsOption = 3,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tell how far a sweep is, whoever works on it: a line for each job that is not finished.

    The columns are state, job, concept with what is varied, attempts, and the reason of the last
    failure, tab-separated.
    """
    from esdctl.sweep.manifest import read_manifest
    from esdctl.sweep.progress import read_progress

    workspace, jobs = find_workspace(root), read_manifest(manifest)
    if watch:
        with reporting(quiet) as reporter:
            _watch(jobs, workspace, max_attempts, reporter)
    progress = read_progress(jobs, workspace, max_attempts)
    if json:
        return print_json(progress.document())
    if not quiet:
        show_progress(progress)
    for each in progress.jobs:
        if each.state != "finished":
            row = (each.state, each.job.name, each.job.label, str(each.attempts), each.reason)
            print_line("\t".join(row))
    return None


@app.command()
def results(
    manifest: ManifestArgument,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a table, a line a job.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", "-o", metavar="FILE.svg", help="Draw UA against IRA and CRA."),
    ] = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tell what a sweep found: mean and spread by kind of concept and by what is varied.

    Prints a line a group: kind, what is varied, jobs, UA, IRA and CRA (in percent of the base's),
    UA under the strongest attack, seconds; tab-separated.
    """
    from esdctl.sweep.manifest import read_manifest
    from esdctl.sweep.results import as_csv as table
    from esdctl.sweep.results import read_results, summarise

    if json and as_csv:
        raise UsageError("--json and --csv exclude each other")
    workspace, jobs = find_workspace(root), read_manifest(manifest)
    found = read_results(jobs, workspace)
    groups = summarise(found)
    with reporting(quiet) as reporter:
        if len(found) < len(jobs):
            reporter.notice(f"{len(found)} of {len(jobs)} jobs are finished")
        if plot is not None:
            draw_plot(found, plot)
            reporter.notice(f"the plot is in {plot}")
    if json:
        return print_json(
            {
                "jobs": [vars(each) for each in found],
                "groups": [group.document() for group in groups],
            }
        )
    if as_csv:
        return print(table(found), end="")
    if groups and not quiet:
        show_groups(groups, found)
    for group in groups:
        print_line("\t".join(plain_cells(group)))
    return None


@app.command()
def report(
    manifest: ManifestArgument,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Else outputs/sweep/MANIFEST.html."),
    ] = None,
    max_attempts: AttemptsOption = 3,
    root: RootOption = None,
    quiet: QuietOption = False,
) -> None:
    """Write a page about a sweep, with a page of each run beside it; print its path."""
    from esdctl.storage.atomic import write_text
    from esdctl.sweep.manifest import read_manifest
    from esdctl.sweep.page import make_sweep_page
    from esdctl.sweep.progress import read_progress
    from esdctl.sweep.results import read_results

    workspace, jobs = find_workspace(root), read_manifest(manifest)
    path = output or workspace.outputs / "sweep" / f"{manifest.stem}.html"
    if path.is_dir():
        raise UsageError(f"--output {path} is a folder", f"name a file: {path / 'sweep.html'}")
    found = read_results(jobs, workspace)
    with reporting(quiet) as reporter:
        links = write_pages(found, path, workspace, reporter)
    progress = read_progress(jobs, workspace, max_attempts)
    write_text(path, make_sweep_page(manifest.stem, found, progress, links, sys.argv))
    print_path(path)


@app.command(hidden=True)
def work(
    manifest: ManifestArgument,
    first: Annotated[int, typer.Option("--first", min=0)] = 0,
    until_stdin_closes: Annotated[bool, typer.Option("--until-stdin-closes")] = False,
    max_attempts: AttemptsOption = 3,
    device: DeviceOption = None,
    root: RootOption = None,
) -> None:
    """Take jobs until none is left; what the engines start."""
    from esdctl.sweep.job import Place
    from esdctl.sweep.manifest import read_manifest
    from esdctl.sweep.stop import Stop, stop_when_stdin_closes
    from esdctl.sweep.worker import work as take_jobs

    place = Place(find_workspace(root), device, tuple(sys.argv))
    jobs, stop = read_manifest(manifest), Stop()
    with stop.on_signals():
        if until_stdin_closes:
            stop_when_stdin_closes()
        take_jobs(jobs, place, max_attempts, stop, first % len(jobs))


def _options(texts: Sequence[str]) -> dict[str, str]:
    options = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--option is {text!r}", "write --option partition=gpu")
        options[key.strip().replace("-", "_")] = value.strip()
    return options


def _watch(
    jobs: "Sequence[Job]", workspace: Workspace, max_attempts: int, reporter: "Reporter"
) -> None:
    """Show progress until nothing is left to do, or Ctrl-C."""
    from esdctl.sweep.progress import read_progress

    reporter.started("sweep", len(jobs), "jobs")
    try:
        while True:
            counts = read_progress(jobs, workspace, max_attempts).counts
            told = ", ".join(f"{counts[s]} {s}" for s in ("running", "waiting", "failed"))
            reporter.advanced("sweep", counts["finished"], told)
            if not counts["running"] + counts["waiting"]:
                break
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:
        reporter.notice("the sweep goes on; this only looked at it")
    finally:
        reporter.finished("sweep")
