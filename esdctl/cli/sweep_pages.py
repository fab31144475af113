"""What ``esdctl sweep`` writes for people: a page of each run, and the plot."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from esdctl.storage.workspace import Workspace

if TYPE_CHECKING:
    from esdctl.progress import Reporter
    from esdctl.sweep.results import JobResult


def write_pages(
    found: "Sequence[JobResult]", path: Path, workspace: Workspace, reporter: "Reporter"
) -> dict[str, str]:
    """Write a page a run, in a folder beside ``path``.

    Returns:
        Job -> the link to its run's page.
    """
    from urllib.parse import quote

    from esdctl.evaluation.report.page import make_page
    from esdctl.evaluation.report.run import read_run
    from esdctl.storage.atomic import write_text

    folder, links = path.with_name(f"{path.stem}-runs"), {}
    reporter.started("pages", len(found), "runs")
    for number, each in enumerate(found, start=1):
        run = workspace.root / each.run
        if run.is_dir():
            page = folder / f"{run.name}.html"
            write_text(page, make_page([read_run(run, workspace)], sys.argv))
            links[each.job] = quote(f"{folder.name}/{page.name}")
        reporter.advanced("pages", number)
    reporter.finished("pages")
    return links


def draw_plot(found: "Sequence[JobResult]", path: Path) -> None:
    """Write the plot of UA against IRA and CRA."""
    from esdctl.storage.atomic import write_bytes
    from esdctl.sweep.page import draw_trade_off

    write_bytes(path, draw_trade_off(found).encode())
