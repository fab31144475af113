"""Progress and Ctrl-C in a notebook: lines on stderr (a bar in a terminal), a stop after a step."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from esdctl.cli.interrupt import stopping_on_interrupt
from esdctl.cli.terminal import TerminalReporter
from esdctl.progress import Reporter


@contextmanager
def reporting(reporter: Reporter | None) -> Iterator[Reporter]:
    """The caller's reporter, or lines on stderr (a bar in a terminal), closed afterwards."""
    if reporter is not None:
        yield reporter
        return
    on_stderr = TerminalReporter(quiet=False)
    try:
        yield on_stderr
    finally:
        on_stderr.close()


@contextmanager
def stopping(reporter: Reporter) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C came; only a main thread can be told of signals."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    with stopping_on_interrupt(reporter) as stop:
        yield stop
