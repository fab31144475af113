"""A figure of matplotlib as SVG for a page: text stays text, colours follow the page's theme.

No state of pyplot is touched. The same data give the same bytes: no date, ids from a fixed salt.
"""

import io
import re
import warnings
from collections.abc import Callable
from html import escape
from typing import TYPE_CHECKING, Any

from esdctl.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INSTALL = "pip install 'esdctl[report]'"

# Colours that stand for the page's own; each gives way to a variable with itself as the fallback.
INK, MUTED, GRID = "#1f2429", "#5d6670", "#d9dde1"
ERASED, BASE, ATTACKED = "#1c5d99", "#a9b4bf", "#b3402a"
PAPER = "#fefefe"
SERIES = ("#1c5d98", "#b3402b", "#2e7d4f", "#8a5a9e", "#b07d12", "#3b8ea5", "#7d5a3c", "#5b6470")
_THEME = {
    INK: "ink", MUTED: "muted", GRID: "line", ERASED: "erased", BASE: "base",
    ATTACKED: "attacked", PAPER: "paper",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES, start=1)},
}  # fmt: skip
_SETTINGS: dict[Any, Any] = {  # of matplotlib
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "text.parse_math": False,
    "text.usetex": False,
    "path.simplify": True,
}
_FONT = re.compile(r"font(?:-family)?: ?[^;\"]*")
_SIZE = re.compile(r"([\d.]+px)")


def draw(
    name: str, label: str, size: tuple[float, float], paint: "Callable[[Figure], None]"
) -> str:
    """Paint a figure and give its SVG.

    Args:
        name: unique on a page; the ids within begin with it.
        label: what the figure shows, for those who do not see it.
        size: width and height, in points (1/72 inch).
        paint: gets the figure and draws on it.

    Returns:
        An ``<svg>`` element, without any declaration before it.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("the plots need matplotlib, which is not installed", INSTALL) from error
    out = io.StringIO()
    # A letter that matplotlib's own font lacks is the reader's browser's to draw.
    with rc_context({**_SETTINGS, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = Figure(figsize=(size[0] / 72, size[1] / 72), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    return _for_page(out.getvalue(), name, label)


def _for_page(svg: str, name: str, label: str) -> str:
    """Without declaration and metadata, ids of its own, the page's font and colours."""
    svg = svg[svg.index("<svg") :].rstrip()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'\b(href="#|clip-path="url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'style="([^"]*)"', lambda match: f'style="{_style(match[1])}"', svg)
    start = svg.index(">")
    view = re.search(r'viewBox="[^"]*"', svg[:start])
    assert view is not None
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{view[0]} role="img" aria-label="{escape(label)}"'
    )
    return head + svg[start:]


def _style(style: str) -> str:
    """A style with the page's variables for colours and the page's font."""
    for colour, variable in _THEME.items():
        style = style.replace(colour, f"var(--{variable}, {colour})")
    return _FONT.sub(_font, style)


def _font(match: "re.Match[str]") -> str:
    """The font's size alone; its family is the page's, else any without serifs."""
    size = _SIZE.search(match[0])
    family = "font-family: var(--font, sans-serif)"
    return f"font-size: {size[1]}; {family}" if size else family
