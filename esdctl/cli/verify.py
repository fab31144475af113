"""``esdctl verify``: whether what is on disk is what it should be, and mending what is not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.options import (
    CatalogOption,
    DeviceOption,
    DryRunOption,
    JsonLinesOption,
    JsonOption,
    QuietOption,
    RootOption,
)
from esdctl.cli.output import print_document, print_json, print_json_line, print_path
from esdctl.cli.terminal import reporting, show_table
from esdctl.cli.transfer_options import TransferFlags, with_transfer_flags
from esdctl.errors import UsageError
from esdctl.progress import Reporter
from esdctl.storage.workspace import Workspace, find_workspace

if TYPE_CHECKING:
    from esdctl.verification.checks import Report
    from esdctl.verification.targets import Target

_WIDTH = 40  # characters of a value in the table; JSON has all
_SHOWN = 20  # failures of one thing in the table; JSON has them all


@with_transfer_flags
def verify(
    transfer: TransferFlags,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME|PATH", help="Else all that the workspace holds."),
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Decode every picture as well.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Fetch again what is damaged, then check again.")
    ] = False,
    pictures: Annotated[
        int | None,
        typer.Option(
            "--pictures", min=1, metavar="N", help="Sample N stored pictures again and compare."
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="RUN", help="What one delta or export was made from."),
    ] = None,
    device: DeviceOption = None,
    catalog: CatalogOption = None,
    root: RootOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    jsonl: JsonLinesOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check models, data sets and runs on disk; exit 1 when something is wrong.

    Prints each path in which nothing is wrong; with --json the whole report. What could not be
    checked is said, with its reason. Only --repair needs a network.

    Example: esdctl verify --repair
    """
    from esdctl.catalog.artifacts import load_catalog
    from esdctl.verification.checks import require_passed
    from esdctl.verification.targets import find_targets, unfinished_runs

    if json and jsonl:
        raise UsageError("--json and --jsonl exclude each other")
    if run is not None and len(names or []) != 1:
        raise UsageError("--run needs one delta or export", "name it: esdctl verify PATH --run RUN")
    workspace = find_workspace(root)
    targets = find_targets(names or [], load_catalog(catalog), workspace)
    if dry_run and not repair:
        return _show_targets(targets, json, jsonl)
    with reporting(quiet) as reporter:
        for left_out in [] if names else unfinished_runs(workspace):
            reporter.notice(f"{left_out} is left out: the run is not finished")
        mending = transfer if repair and not dry_run else None
        reports = [_verify(target, deep, run, mending, reporter) for target in targets]
        if pictures is not None:
            reports = [_with_pictures(r, pictures, workspace, device, reporter) for r in reports]
        for report in reports:
            _warn_of_unchecked(report, reporter)
    if not quiet:
        _show(reports)
    _print(reports, json, jsonl)
    require_passed(reports)


def _verify(
    target: "Target",
    deep: bool,
    run: Path | None,
    mending: TransferFlags | None,
    reporter: Reporter,
) -> "Report":
    """Check a target; with ``mending``, fetch again what is damaged and check once more."""
    from esdctl.verification.targets import verify_target

    report = verify_target(target, deep, reporter, run)
    if mending is None or report.passed:
        return report
    from esdctl.verification.repair import repair

    if repair(target, report, mending.options(), reporter):
        return verify_target(target, deep, reporter, run)
    return report


def _warn_of_unchecked(report: "Report", reporter: Reporter) -> None:
    """Say what is neither passed nor failed, under --quiet as well."""
    reasons: dict[str, list[str]] = {}
    for check in report.unchecked:
        reasons.setdefault(check.measured, []).append(check.name)
    for why, names in reasons.items():
        reporter.warning(f"{report.path}: not checked: {', '.join(names)} ({why})")


def _with_pictures(
    report: "Report", count: int, workspace: Workspace, device: str | None, reporter: Reporter
) -> "Report":
    from esdctl.models.devices import find_device
    from esdctl.verification.sampled_again import check_pictures

    checks = check_pictures(report.path, count, workspace, find_device(device), reporter)
    return replace(report, checks=(*report.checks, *checks))


def _show_targets(targets: "Sequence[Target]", json: bool, jsonl: bool) -> None:
    documents = [target.document() for target in targets]
    if not jsonl:
        return print_document(documents, json)
    for document in documents:
        print_json_line(document)
    return None


def _print(reports: "Sequence[Report]", json: bool, jsonl: bool) -> None:
    documents = [report.document() for report in reports]
    if json:
        return print_json(documents)
    for report, document in zip(reports, documents, strict=True):
        if jsonl:
            print_json_line(document)
        elif report.passed:
            print_path(report.path)
    return None


def _show(reports: "Sequence[Report]") -> None:
    """A line for each check that passed, failed, or could not be made."""
    for report in reports:
        failures = report.failures
        rows = [
            (check.name, check.measured, check.allowed, "ok", "")
            for check in report.checks
            if check.passed
        ]
        rows += [
            (check.name, check.measured, check.allowed, "not checked", check.file)
            for check in report.unchecked
        ]
        rows += [
            (check.name, _cut(check.measured), _cut(check.allowed), "FAILED", check.file)
            for check in failures[:_SHOWN]
        ]
        if len(failures) > _SHOWN:
            rows.append((f"{len(failures) - _SHOWN} more", "", "", "FAILED", ""))
        columns = ("check", "is", "allowed", "", "file")
        show_table(f"{report.name}: {report.path}", columns, rows, is_text=True)


def _cut(text: str) -> str:
    """Long values, such as digests, as their beginning."""
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
