"""stderr, for people: progress, notices, warnings and tables.

A terminal gets a bar that redraws itself; a file or pipe gets plain lines without control codes.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rich.console import Console, JustifyMethod
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from esdctl.progress import Reporter
from esdctl.redaction import redacted

SECONDS_BETWEEN_LINES = 5.0
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and line break
BYTES = "bytes"  # the unit that is shown as kB, MB or GB

_shown: set[Progress] = set()  # bars that are on the terminal now


@dataclass
class _Task:
    """One piece of work under way."""

    total: int
    unit: str
    done_before: int  # a resumed task starts here; its speed counts from here
    began: float  # seconds of the clock
    last_line: float
    done: int = 0  # as told last
    bar: TaskID | None = None

    def pace(self, done: int, now: float) -> str:
        """Speed and time left, such as ``2.1 steps/s, 1:20 left``; empty before it is known."""
        fresh = done - self.done_before
        if fresh <= 0 or now <= self.began:
            return ""
        speed = fresh / (now - self.began)
        if self.unit == BYTES:
            shown = f"{decimal(int(speed))}/s"
        elif speed >= 1:
            shown = f"{speed:.1f} {self.unit}/s"
        else:
            shown = f"{1 / speed:.1f} s per {self.unit.removesuffix('s')}"
        return f"{shown}, {_clock_time((self.total - done) / speed)} left"

    def amount(self, done: int) -> str:
        """What is done of what, such as ``10/100 steps`` or ``1.2 GB/3.8 GB``."""
        if self.unit == BYTES:
            return f"{decimal(done)}/{decimal(self.total)}"
        unit = self.unit.removesuffix("s") if self.total == 1 else self.unit
        return f"{done}/{self.total} {unit}"


class TerminalReporter:
    """A Reporter that shows events on stderr.

    Args:
        quiet: show warnings only.
        clock: monotonic seconds.
    """

    def __init__(self, quiet: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet = quiet
        self._clock = clock
        self._tasks: dict[str, _Task] = {}
        self._bars = _new_bars() if _redraws() and not quiet else None

    def started(self, task: str, total: int, unit: str, done: int = 0) -> None:
        now = self._clock()
        entry = _Task(total, unit, done, began=now, last_line=now, done=done)
        self._tasks[task] = entry
        if self._bars is not None:
            self._bars.start()
            _shown.add(self._bars)
            entry.bar = self._bars.add_task(
                task, total=total, completed=done, amount=entry.amount(done), pace="", details=""
            )
        else:
            self._line(f"{task}: {entry.amount(done)}")

    def advanced(self, task: str, done: int, details: str = "") -> None:
        entry = self._tasks[task]
        entry.done = done
        now = self._clock()
        pace = entry.pace(done, now)
        if self._bars is not None and entry.bar is not None:
            self._bars.update(
                entry.bar, completed=done, amount=entry.amount(done), pace=pace, details=details
            )
        elif now - entry.last_line >= SECONDS_BETWEEN_LINES:
            entry.last_line = now
            parts = [f"{task}: {entry.amount(done)}", pace, details]
            self._line(", ".join(part for part in parts if part))

    def finished(self, task: str) -> None:
        entry = self._tasks.pop(task)
        if self._bars is not None and entry.bar is not None:
            self._bars.remove_task(entry.bar)
        took = _clock_time(self._clock() - entry.began)
        is_whole = entry.done >= entry.total
        outcome = "done in" if is_whole else f"stopped at {entry.amount(entry.done)} after"
        self._line(f"{task}: {outcome} {took}")
        if not self._tasks:
            self.close()

    def notice(self, text: str) -> None:
        self._line(text)

    def warning(self, text: str) -> None:
        _print_to_stderr(f"warning: {text}")

    def close(self) -> None:
        """Give the terminal back as it was."""
        if self._bars is not None:
            self._bars.stop()
            _shown.discard(self._bars)

    def _line(self, text: str) -> None:
        if not self._quiet:
            _print_to_stderr(text)


@contextmanager
def reporting(quiet: bool) -> Iterator[Reporter]:
    """Give a command its Reporter, and the terminal back afterwards, whatever happens."""
    reporter = TerminalReporter(quiet)
    try:
        yield reporter
    finally:
        reporter.close()


@contextmanager
def bars_hidden() -> Iterator[None]:
    """Take the bars off the terminal while something else is written to it."""
    hidden = list(_shown) if sys.stdout is not None and sys.stdout.isatty() else []
    for bars in hidden:
        bars.stop()
    try:
        yield
    finally:
        for bars in hidden:
            bars.start()


def show_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], is_text: bool = False
) -> None:
    """Show a table on stderr; the first column is aligned left, the others right unless text."""
    if not _redraws():
        _show_plain_table(title, columns, rows, is_text)
        return
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        justify: JustifyMethod = "left" if index == 0 or is_text else "right"
        table.add_column(column, justify=justify, overflow="fold")  # nothing is cut
    for row in rows:
        table.add_row(*row)
    Console(stderr=True, markup=False).print(table)


def _show_plain_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], is_text: bool
) -> None:
    lines = [list(columns), *(list(row) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    _print_to_stderr(title)
    for first, *others in lines:
        cells = [first.ljust(widths[0])]
        align = str.ljust if is_text else str.rjust
        cells += [align(cell, width) for cell, width in zip(others, widths[1:], strict=True)]
        _print_to_stderr("  ".join(cells).rstrip())


def _redraws() -> bool:
    """Whether stderr is a terminal that understands control codes."""
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    return is_terminal and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def _new_bars() -> Progress:
    """Bars on stderr; rich leaves colours out under NO_COLOR."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[amount]}", markup=False),
        TextColumn("{task.fields[pace]}", markup=False),
        TextColumn("{task.fields[details]}", markup=False),
        console=Console(stderr=True),
        transient=True,  # what stops leaves no bar behind
        redirect_stdout=False,  # stdout belongs to the result
    )


def _print_to_stderr(text: str) -> None:
    """Print a line; a reader of stderr that went away must not end the work."""
    if sys.stderr is not None:  # else print() would take stdout
        with suppress(OSError):
            print(printable(redacted(text)), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """``text`` with its control characters escaped: a file's name must not steer the terminal."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _clock_time(seconds: float) -> str:
    """Seconds as ``1:20`` or ``2:01:20``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
