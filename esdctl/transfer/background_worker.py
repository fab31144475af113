"""Work handed to a background thread: one core inflates while another hashes and writes."""

import queue
import threading
from collections.abc import Callable

WAITING = 2  # jobs, each with a block in memory; the giver waits for room


class BackgroundWorker:
    """Does each job, in order, in a thread of its own."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def put(self, job: Callable[[], None]) -> None:
        """Hand a job over; raises what an earlier one raised."""
        self._raise_failure()
        self._queue.put(job)

    def close(self) -> None:
        """Wait until every job is done; raises what one of them raised."""
        self._queue.put(None)
        self._thread.join()
        self._raise_failure()

    def _run(self) -> None:
        while (job := self._queue.get()) is not None:
            if self._failure is None:  # else take it only to make room
                try:
                    job()
                except BaseException as error:
                    self._failure = error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
