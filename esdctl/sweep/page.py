"""A sweep's page: means, the trade-off plot, a row an erasure that links to its own page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from esdctl.errors import InputError
from esdctl.evaluation.metrics.intervals import Percent
from esdctl.evaluation.report.page import page_parts
from esdctl.evaluation.report.plots import TradeOffPoint, trade_off_plot
from esdctl.evaluation.report.svg import INSTALL
from esdctl.storage.provenance import collect
from esdctl.sweep.progress import Progress
from esdctl.sweep.results import JobResult, Spread, summarise

TEMPLATE = Path(__file__).with_name("page.html")


def make_sweep_page(
    name: str,
    results: Sequence[JobResult],
    progress: Progress,
    links: Mapping[str, str],
    command_line: Sequence[str],
) -> str:
    """The page.

    Args:
        name: of the manifest.
        results: of the finished jobs.
        progress: of all jobs.
        links: job -> the address of its run's page; a job without one has no link.
        command_line: what makes the page.

    Returns:
        HTML that needs no network.

    Raises:
        InputError: jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise InputError("the page needs jinja2, which is not installed", INSTALL) from error
    parts = page_parts()
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=f"{len(progress.jobs)} erasures: {name}",
        style=parts.style,
        script=parts.script,
        script_digest=parts.script_digest,
        jobs=len(progress.jobs),
        results=results,
        protocols=list(dict.fromkeys(each.protocol for each in results if each.protocol)),
        groups=summarise(results),
        varied=list(dict.fromkeys(key for each in results for key in each.cell)),
        trade_off=draw_trade_off(results) if _is_measured(results) else None,
        of_groups=_has_cells(results),
        links={each.job: links.get(each.job) for each in results},
        unfinished=[each for each in progress.jobs if each.state != "finished"],
        made=collect(command_line),
    )


def draw_trade_off(results: Sequence[JobResult]) -> str:
    """UA against IRA and CRA: a point an erasure, or a point a cell where a grid was swept.

    Raises:
        InputError: matplotlib is not installed, or nothing is measured.
    """
    if not _is_measured(results):
        raise InputError("no job is measured yet", "esdctl sweep run measures them")
    if not _has_cells(results):
        return trade_off_plot([_point(each) for each in results], "sweep")
    points = [
        TradeOffPoint(
            ", ".join([f"{group.kind}s", *(f"{k} {v}" for k, v in group.cell.items())]),
            *(_as_percent(group.figures[name]) for name in ("ua", "ira", "cra", "attacked_ua")),
        )
        for group in summarise(results)
    ]
    return trade_off_plot(points, "sweep")


def _has_cells(results: Sequence[JobResult]) -> bool:
    return any(group.cell for group in summarise(results))


def _is_measured(results: Sequence[JobResult]) -> bool:
    return any(each.ua is not None for each in results)


def _point(result: JobResult) -> TradeOffPoint:
    figures = (result.ua, result.ira, result.cra, result.attacked_ua)
    return TradeOffPoint(
        result.concept, *(None if f is None else Percent(f, f, f, 1) for f in figures)
    )


def _as_percent(spread: Spread | None) -> Percent | None:
    """The mean, with one standard deviation on both sides."""
    if spread is None:
        return None
    wide = spread.deviation or 0.0
    return Percent(spread.mean, spread.mean - wide, spread.mean + wide, spread.n)
