"""Markdown in a terminal, by rich; no word of a table is cut."""

from collections.abc import Callable

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown, TableElement
from rich.table import Column, Table

BETWEEN = 2  # spaces between columns


class _Table(TableElement):
    """Columns as wide as their longest words, where the terminal is wide enough for that."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for part in super().__rich_console__(console, options):
            if isinstance(part, Table):
                _widen(part.columns, options.max_width)
            yield part


def _widen(columns: list[Column], room: int) -> None:
    """Give each column its longest word, and what room is left to those that would use it."""
    room -= BETWEEN * (len(columns) + 1)
    least = [_longest(column, str.split) for column in columns]
    most = [_longest(column, str.splitlines) for column in columns]
    while sum(least) > room and max(least) > 1:
        least[least.index(max(least))] -= 1
    wanted = sum(most) - sum(least)
    share = min(1.0, (room - sum(least)) / wanted) if wanted > 0 else 0.0
    for column, few, many in zip(columns, least, most, strict=True):
        column.overflow, column.width = "fold", few + int((many - few) * share)


class _Markdown(Markdown):
    elements = {**Markdown.elements, "table_open": _Table}  # noqa: RUF012  # rich's own


def print_markdown(text: str) -> None:
    """Print it on stdout, as wide as the terminal is."""
    Console().print(_Markdown(text, hyperlinks=False))


def _longest(column: Column, parts: Callable[[str], list[str]]) -> int:
    cells = [column.header, *column.cells]
    return max((cell_len(part) for cell in cells for part in parts(str(cell))), default=1)
