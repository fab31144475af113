"""The report's plots: bars, confusion, collateral, loss, and the trade-off of several erasures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from esdctl.evaluation.metrics.intervals import Percent
from esdctl.evaluation.report.documents import Confusion, Moved
from esdctl.evaluation.report.svg import ATTACKED, BASE, ERASED, GRID, INK, PAPER, SERIES, draw

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 400.0  # points; readable on a telephone too
LONGEST_NAME = 24  # characters of a label
_MOST_STEPS = 500  # points of a curve


@dataclass(frozen=True)
class Bar:
    """One figure of the erased model beside the base's."""

    name: str
    erased: Percent | None
    base: Percent | None = None


@dataclass(frozen=True)
class TradeOffPoint:
    """One erasure in the trade-off plot.

    Args:
        name: of the run or the model.
        ua, ira, cra: in percent, with 95 % intervals.
        attacked_ua: 100 minus the success rate of the strongest attack; None where none was tried.
    """

    name: str
    ua: Percent | None
    ira: Percent | None
    cra: Percent | None
    attacked_ua: Percent | None = None


def bars_plot(name: str, bars: Sequence[Bar]) -> str:
    """Horizontal bars with 95 % intervals, the erased model above the base."""

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        top = max([104.0, *(p.high * 1.02 for b in bars for p in (b.erased, b.base) if p)])
        for row, bar in enumerate(bars):
            for percent, colour, at in ((bar.erased, ERASED, -0.2), (bar.base, BASE, 0.2)):
                if percent is None:
                    continue
                axes.barh(row + at, percent.percent, 0.34, color=colour, zorder=2)
                _whisker(axes, percent, row + at)
        axes.set_yticks(range(len(bars)), [_cut(bar.name) for bar in bars])
        axes.invert_yaxis()
        axes.set_xlim(0, top)
        axes.set_xlabel("percent, with 95 % intervals")
        axes.grid(axis="x", zorder=0)
        axes.tick_params(left=False)

    told = "; ".join(f"{b.name} {_told(b.erased)}, base {_told(b.base)}" for b in bars)
    return draw(
        name,
        f"Bars of the erased model beside its base: {told}",
        (WIDTH, 46 + 34 * len(bars)),
        paint,
    )


def confusion_plot(name: str, confusion: Confusion, target: str | None) -> str:
    """A heat map of what was asked for (down) against what the judge saw (across)."""
    seen = dict.fromkeys([*confusion, *(key for row in confusion.values() for key in row)])
    asked, columns = list(confusion), list(seen)
    shares = [_shares(confusion[row], columns) for row in asked]

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for row, (label, line) in enumerate(zip(asked, shares, strict=True)):
            for column, share in enumerate(line):
                colour = ATTACKED if label == target == columns[column] else ERASED
                _square(axes, column, row, share, colour)
                count = confusion[label].get(columns[column], 0)
                if count and len(columns) <= 24:
                    tint = PAPER if share > 0.5 else INK
                    axes.text(
                        column, row, str(count), ha="center", va="center", color=tint, fontsize=7
                    )
        _label_squares(axes, columns, asked, target)
        axes.set_xlabel("seen by the judge")
        axes.set_ylabel("asked for")

    height = min(720.0, 130 + 270 * len(asked) / max(1, len(columns)))
    label = f"Confusion matrix of {len(asked)} concepts: rows asked for, columns seen by the judge"
    return draw(name, label, (WIDTH, height), paint)


def collateral_plot(name: str, moved: Sequence[Moved]) -> str:
    """A heat map of what happened to the other concepts, the target's nearest neighbours first."""
    columns = ("nearness", "accuracy lost", "moved")
    lost = [
        max(0.0, m.base_accuracy.percent - m.accuracy.percent) / 100
        if m.accuracy and m.base_accuracy else None
        for m in moved
    ]  # fmt: skip
    far = max([m.moved or 0.0 for m in moved], default=0.0) or 1.0
    near = max([m.nearness or 0.0 for m in moved], default=0.0) or 1.0

    def paint(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for row, (each, fell) in enumerate(zip(moved, lost, strict=True)):
            nearness = None if each.nearness is None else max(0.0, each.nearness) / near
            _square(axes, 0, row, nearness, BASE)
            _square(axes, 1, row, fell, ATTACKED)
            _square(axes, 2, row, None if each.moved is None else each.moved / far, ERASED)
            shares = (None, fell, None if each.moved is None else each.moved / far)
            values = (each.nearness, None if fell is None else 100 * fell, each.moved)
            for column, (value, share) in enumerate(zip(values, shares, strict=True)):
                text = "-" if value is None else f"{value:.0f}" if column == 1 else f"{value:.2f}"
                tint = PAPER if share is not None and share > 0.5 else INK
                axes.text(column, row, text, ha="center", va="center", color=tint, fontsize=8)
        _label_squares(axes, columns, [each.name.replace("_", " ") for each in moved], None, 0)
        axes.xaxis.tick_top()

    label = f"Heat map of {len(moved)} other concepts, nearest to the erased one first"
    return draw(name, label, (WIDTH, 40 + 15.0 * len(moved)), paint)


def loss_plot(name: str, curves: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Losses over the optimiser's steps, on a logarithmic axis."""

    def paint(figure: "Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_subplot()
        for (label, points), colour in zip(curves.items(), SERIES, strict=False):
            thinned = points[:: max(1, len(points) // _MOST_STEPS)]
            steps, values = zip(*thinned, strict=True)
            marker = "o" if len(thinned) < 30 else ""
            axes.plot(steps, values, color=colour, marker=marker, markersize=4, lw=1.4, label=label)
        if all(value > 0 for points in curves.values() for _, value in points):
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid()
        axes.legend(frameon=False, fontsize=9)

    return draw(name, f"Curves over the training steps: {', '.join(curves)}", (WIDTH, 210), paint)


def trade_off_plot(points: Sequence[TradeOffPoint], name: str = "trade-off") -> str:
    """UA against IRA and against CRA of several erasures; hollow where the strongest attack is.

    Args:
        points: one an erasure.
        name: unique on a page.

    Returns:
        An ``<svg>`` element: two panels that share their vertical axis, and a legend below.
    """

    retained = [p.percent for point in points for p in (point.ira, point.cra) if p is not None]
    top = max([106.0, *(value + 4 for value in retained)])  # percent of the base's may be above 100

    def paint(figure: "Figure") -> None:
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, key in ((left, "IRA"), (right, "CRA")):
            for number, point in enumerate(points):
                kept = point.ira if key == "IRA" else point.cra
                if kept is not None and point.ua is not None:
                    _place(axes, point, kept, number)
            axes.set_xlim(-4, 104)
            axes.set_ylim(-4, top)
            axes.set_xlabel("UA, %")
            axes.set_title(f"{key}, %", fontsize=10, loc="left")
            axes.grid()
        drawn: dict[str, Artist] = {}
        for axes in (left, right):
            handles, labels = axes.get_legend_handles_labels()
            drawn |= zip(labels, handles, strict=True)
        if drawn:
            figure.legend(
                list(drawn.values()), list(drawn), ncols=2, frameon=False,
                loc="outside lower center", fontsize=8,
            )  # fmt: skip

    told = "; ".join(
        f"{p.name}: UA {_told(p.ua)}, IRA {_told(p.ira)}, CRA {_told(p.cra)}, "
        f"attacked UA {_told(p.attacked_ua)}"
        for p in points
    )
    height = 230 + 13.0 * ((len(points) + 1) // 2)
    return draw(name, f"Trade-off of erasing and retaining. {told}", (460, height), paint)


def _place(axes: "Axes", point: TradeOffPoint, retained: Percent, number: int) -> None:
    colour, marker = SERIES[number % len(SERIES)], "osD^v"[number // len(SERIES) % 5]
    ua = point.ua
    assert ua is not None
    x_error, y_error = _errors(ua), _errors(retained)
    axes.errorbar(
        ua.percent, retained.percent, xerr=x_error, yerr=y_error, color=colour, fmt=marker,
        markersize=6, elinewidth=0.8, label=_cut(point.name, 34), zorder=3,
    )  # fmt: skip
    if point.attacked_ua is None:
        return
    x = point.attacked_ua.percent
    axes.plot([ua.percent, x], [retained.percent] * 2, color=colour, lw=0.8, ls=":", zorder=2)
    axes.plot(x, retained.percent, marker, color=colour, mfc=PAPER, markersize=6, zorder=3)


def _whisker(axes: "Axes", percent: Percent, at: float) -> None:
    x, error = percent.percent, _errors(percent)
    axes.errorbar(x, at, xerr=error, ecolor=INK, zorder=3, elinewidth=1.2, capsize=2.5, fmt="none")


def _errors(percent: Percent) -> list[list[float]]:
    return [[percent.percent - percent.low], [percent.high - percent.percent]]


def _square(axes: "Axes", column: int, row: int, share: float | None, colour: str) -> None:
    from matplotlib.patches import Rectangle

    corner = (column - 0.5, row - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, fc="none", ec=GRID, lw=0.5))
    if share:
        axes.add_patch(
            Rectangle(corner, 1, 1, fc=colour, alpha=min(1.0, 0.12 + 0.88 * share), lw=0)
        )


def _label_squares(
    axes: "Axes", columns: Sequence[str], rows: Sequence[str], target: str | None, turn: int = 90
) -> None:
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    size = 9 if len(rows) <= 16 else 8
    axes.set_xticks(range(len(columns)), [_shown(c) for c in columns], rotation=turn, fontsize=size)
    axes.set_yticks(range(len(rows)), [_shown(row) for row in rows], fontsize=size)
    axes.tick_params(length=0)
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        if row == target:
            tick.set_color(ATTACKED)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _shown(name: str) -> str:
    return _cut(name.replace("_", " "))


def _shares(row: Mapping[str, int], columns: Sequence[str]) -> list[float]:
    total = sum(row.values()) or 1
    return [row.get(column, 0) / total for column in columns]


def _cut(name: str, longest: int = LONGEST_NAME) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _told(percent: Percent | None) -> str:
    return "not measured" if percent is None else f"{percent.percent:.1f} %"
