"""``--help`` as text: no boxes, nothing cut, the same on a terminal and in a pipe."""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import typer

NARROWEST, WIDEST, IN_A_PIPE = 60, 100, 100  # columns
_NAME_COLUMN = 32  # columns for an option's names; longer ones get a line of their own

# Typer's words for a type, and those of manual pages.
_TYPES = (
    (re.compile(r"<(?:list\[)?str\]?>"), "TEXT"),
    (re.compile(r"<(?:list\[)?int(?: range)?\]?>"), "N"),
    (re.compile(r"<(?:list\[)?float(?: range)?\]?>"), "NUMBER"),
    (re.compile(r"<(?:list\[)?path\]?>"), "PATH"),
    (re.compile(r"<([^<>]*\|[^<>]*)>"), r"\1"),
)

Row = tuple[str, str]  # a name, and what it is
Command = Any  # a command of Typer, whose class it does not publish


def write_help(command: Command, context: typer.Context, formatter: Any) -> None:
    """Usage, description, arguments, commands by panel, options by panel, epilog."""
    formatter.width = _width()
    formatter.write_usage(context.command_path, " ".join(command.collect_usage_pieces(context)))
    for paragraph in _paragraphs(command.help or ""):
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(paragraph)
    rows = [*_rows_of_commands(command, context), *_rows_of_parameters(command, context)]
    for title, listed in _by_title(rows):
        with formatter.section(_heading(title)):
            formatter.write_dl(listed, col_max=_NAME_COLUMN)
    if command.epilog:
        formatter.write_paragraph()
        formatter.write_text(command.epilog)


def _rows_of_parameters(command: Command, context: typer.Context) -> Iterator[tuple[str, Row]]:
    """(panel, row) of each argument and option that is not hidden."""
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None:
            continue
        is_argument = parameter.param_type_name == "argument"
        usual = "Arguments" if is_argument else "Options"
        name, meaning = record
        if is_argument and parameter.metavar:
            name = parameter.metavar
        yield getattr(parameter, "rich_help_panel", None) or usual, (_typed(name), meaning)


def _rows_of_commands(command: Command, context: typer.Context) -> Iterator[tuple[str, Row]]:
    entries = getattr(command, "entries", None)
    if entries is not None:  # the root's: no command is imported for its line
        yield from ((entry.panel, (name, entry.line)) for name, entry in entries.items())
        return
    for name, below in getattr(command, "commands", {}).items():
        if not below.hidden:
            first = next(_paragraphs(below.help or ""), "")
            yield getattr(below, "rich_help_panel", None) or "Commands", (name, first)


def _typed(name: str) -> str:
    for pattern, word in _TYPES:
        name = pattern.sub(word, name)
    return name


def _by_title(rows: Iterable[tuple[str, Row]]) -> Iterator[tuple[str, list[Row]]]:
    """Rows of one title together, in the order in which the titles first appear."""
    sections: dict[str, list[Row]] = {}
    for title, row in rows:
        sections.setdefault(title, []).append(row)
    order = sorted(sections, key=lambda title: title != "Arguments")  # they come first
    return ((title, sections[title]) for title in order)


def _paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a docstring, each as one line."""
    for paragraph in text.replace("\f", "").split("\n\n"):
        words = paragraph.split()
        if words:
            yield " ".join(words)


def _width() -> int:
    """The terminal's width within reason, also for a pager; wide enough where there is none."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns):
        return max(NARROWEST, min(WIDEST, int(columns)))
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # no terminal, closed, or not there
            return max(NARROWEST, min(WIDEST, os.get_terminal_size(stream.fileno()).columns))
    return IN_A_PIPE


def _heading(title: str) -> str:
    """Bold where the terminal can."""
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    is_plain = os.environ.get("TERM", "") in ("", "dumb", "unknown")
    if not is_terminal or is_plain or os.environ.get("NO_COLOR"):
        return title
    return str(typer.style(title, bold=True))
