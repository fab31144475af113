"""Blocks handed to a thread behind: one core inflates while another hashes and writes."""

import queue
import threading
from collections.abc import Callable

WAITING = 2  # blocks in memory; the giver waits for room


class Drain:
    """Calls ``take`` with each block, in order, in a thread of its own.

    Args:
        take: what to do with a block.
    """

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._queue: queue.Queue[bytes | None] = queue.Queue(WAITING)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, block: bytes) -> None:
        """Hand a block over; raises what an earlier one raised."""
        self._raise_failure()
        self._queue.put(block)

    def close(self) -> None:
        """Wait until every block was taken; raises what one of them raised."""
        self._queue.put(None)
        self._thread.join()
        self._raise_failure()

    def _run(self) -> None:
        while (block := self._queue.get()) is not None:
            if self._failure is None:  # else take it only to make room
                try:
                    self._take(block)
                except BaseException as error:
                    self._failure = error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
