"""Progress of a transfer: one total, and a task for each large file; safe from any thread."""

import threading
import time

from esdctl.progress import Reporter

OWN_TASK = 8 * 2**20  # bytes from which on a file has a task of its own
SECONDS_BETWEEN_EVENTS = 0.1


class ByteProgress:
    """Counts bytes and tells the Reporter, a few times a second.

    Args:
        reporter: is called by one thread at a time.
        task: names the whole.
        total: bytes of the whole.
    """

    def __init__(self, reporter: Reporter, task: str, total: int) -> None:
        self._reporter = reporter
        self._task = task
        self._total = total
        self._lock = threading.Lock()
        self._done = {task: 0}
        self._last_event = {task: 0.0}
        self._sizes = {task: total}
        self._has_begun = False

    def keep(self, count: int) -> None:
        """``count`` bytes are there from an earlier try; speed counts from there."""
        with self._lock:
            self._done[self._task] += count

    def begin(self, name: str, size: int, done: int = 0) -> None:
        """The file ``name`` begins, or goes on; a small file has no task of its own."""
        with self._lock:
            self._begin_total()
            if size >= OWN_TASK and name not in self._done:
                self._done[name] = done
                self._last_event[name] = 0.0
                self._sizes[name] = size
                self._reporter.started(name, size, "bytes", done)

    def add(self, name: str, count: int) -> None:
        """``count`` more bytes of ``name``; negative when bytes turned out to be void."""
        self.arrive(count)
        self.unpack(name, count)

    def arrive(self, count: int) -> None:
        """``count`` more bytes of the whole."""
        self._advance(self._task, count)

    def unpack(self, name: str, count: int) -> None:
        """``count`` more bytes of ``name`` alone: they arrived before, perhaps out of order."""
        if name != self._task:
            self._advance(name, count)

    def _advance(self, task: str, count: int) -> None:
        with self._lock:
            self._begin_total()
            if task not in self._done:
                return
            self._done[task] += count
            now = time.monotonic()
            if now - self._last_event[task] >= SECONDS_BETWEEN_EVENTS:
                self._last_event[task] = now
                self._reporter.advanced(task, self._done[task])

    def end(self, name: str) -> None:
        """The file ``name`` is complete."""
        with self._lock:
            if name in self._done and name != self._task:
                self._end(name, self._sizes[name])

    def close(self) -> None:
        """The whole is over, done or not."""
        with self._lock:
            self._begin_total()
            for name in list(self._done)[::-1]:  # the whole last
                self._end(name, self._done[name])

    def _end(self, name: str, done: int) -> None:
        del self._done[name]
        self._reporter.advanced(name, done)
        self._reporter.finished(name)

    def _begin_total(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._reporter.started(self._task, self._total, "bytes", self._done[self._task])
