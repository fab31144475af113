"""A worker that is asked to stop: at once, or where training saves its state."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether the worker was asked to stop.

    Who polls it (a training) ends after its step; elsewhere KeyboardInterrupt is raised at once,
    and so it is the second time.
    """

    def __init__(self) -> None:
        self._asked = False
        self._is_polled = False

    def __call__(self) -> bool:
        return self._asked

    @contextmanager
    def polled(self) -> Iterator[None]:
        """During the block somebody asks whether to stop.

        Raises:
            KeyboardInterrupt: at its end, where nobody asked after the last signal.
        """
        self._is_polled = True
        try:
            yield
        finally:
            self._is_polled = False
        if self._asked:
            raise KeyboardInterrupt

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Hear Ctrl-C and SIGTERM during the block."""
        before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        first, self._asked = not self._asked, True
        if not (first and self._is_polled):
            raise KeyboardInterrupt


def stop_when_stdin_closes() -> None:
    """Send this process SIGTERM once whoever holds its stdin is gone."""

    def wait() -> None:
        with suppress(OSError):
            while os.read(0, 1):  # sys.stdin has a lock that would outlive this thread
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
