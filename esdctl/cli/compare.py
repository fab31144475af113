"""``esdctl compare``: several erasures side by side, under one protocol."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.completion import complete_run
from esdctl.cli.options import JsonOption, QuietOption, RootOption
from esdctl.cli.output import print_json, print_line
from esdctl.cli.terminal import reporting, show_table
from esdctl.storage.workspace import find_workspace

if TYPE_CHECKING:
    from esdctl.evaluation.comparison import Compared, Comparison
    from esdctl.evaluation.metrics.intervals import Percent


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN",
            help="Two or more; the first is compared with.",
            autocompletion=complete_run,
        ),
    ],
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", metavar="NAME", help="Else the first that all runs have."),
    ] = None,
    fail_under: Annotated[
        str | None,
        typer.Option(
            "--fail-under",
            metavar="UA=95,IRA=80",
            help="Exit 1 where a run is below; UA, IRA, CRA (of the base's), ATTACKED.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", "-o", metavar="FILE.svg", help="Draw UA against IRA and CRA."),
    ] = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare erasures under one protocol; print a line a run.

    The columns are run, concept, UA, IRA and CRA in percent of the base's, and UA under the
    strongest attack, tab-separated. Differences to the first run are paired, picture by picture.

    Example: esdctl compare Dogs-xattn-1a2b3c4d Dogs-noxattn-5e6f7a8b --fail-under UA=95,IRA=80
    """  # fmt: skip
    from esdctl.evaluation.comparison import check_demands, compare_runs, parse_demands
    from esdctl.evaluation.report.run import read_run
    from esdctl.models.named import run_path

    demands = {} if fail_under is None else parse_demands(fail_under)
    workspace = find_workspace(root)
    found = [read_run(run_path(Path(name), workspace), workspace) for name in runs]
    comparison = compare_runs(found, protocol)
    if plot is not None:
        _draw(comparison, plot)
        with reporting(quiet) as reporter:
            reporter.notice(f"the plot is in {plot}")
    if not quiet:
        _show(comparison)
    if json:
        print_json(comparison.document())
    else:
        for row in comparison.rows:
            print_line("\t".join((row.run, row.concept, *map(_plain, row.figures().values()))))
    check_demands(comparison, demands)


def _draw(comparison: "Comparison", path: Path) -> None:
    from esdctl.evaluation.report.plots import TradeOffPoint, trade_off_plot
    from esdctl.storage.atomic import write_bytes

    points = [
        TradeOffPoint(row.run, row.ua, row.ira, row.cra, row.attacked_ua) for row in comparison.rows
    ]
    write_bytes(path, trade_off_plot(points).encode())


def _show(comparison: "Comparison") -> None:
    columns = ("run", "concept", "UA", "IRA", "CRA", "attacked UA", "IRA to first", "CRA to first")
    show_table(
        f"Erasures ({comparison.protocol}; judged by {comparison.judge}; IRA and CRA in percent of "
        "the base's; differences in points, paired; 95 % intervals)",
        columns,
        [_cells(row) for row in comparison.rows],
        is_text=True,
    )


def _cells(row: "Compared") -> tuple[str, ...]:
    attacked = _interval(row.attacked_ua) + (f" ({row.attack})" if row.attack else "")
    return (
        row.run, row.concept, _interval(row.ua), _interval(row.ira), _interval(row.cra), attacked,
        _interval(row.ira_difference), _interval(row.cra_difference),
    )  # fmt: skip


def _interval(figure: "Percent | None") -> str:
    return "-" if figure is None else f"{figure.percent:.1f} [{figure.low:.1f}, {figure.high:.1f}]"


def _plain(figure: "Percent | None") -> str:
    return "" if figure is None else f"{figure.percent:.2f}"
