"""Ctrl-C while a long work goes on: the first asks it to stop at the next good place."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from esdctl.progress import Reporter


@contextmanager
def stopping_on_interrupt(reporter: Reporter) -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C (or SIGTERM) came.

    The second Ctrl-C raises KeyboardInterrupt at once.

    Args:
        reporter: told that the work will stop.
    """
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        reporter.notice("stopping after this step; once more to stop at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
