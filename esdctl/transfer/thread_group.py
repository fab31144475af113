"""Threads that end together: the first error stops all of them and is raised by the caller."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from esdctl.transfer.client import Http
from esdctl.transfer.retry import Stopped

SECONDS_TO_END = 5.0  # what a thread that waits for a server may take after the first error


def run_threads(
    http: Http, jobs: Sequence[Callable[[], None]], wake: Callable[[], None] | None = None
) -> None:
    """Run each job in a thread of its own until all are done, or one of them fails.

    Args:
        http: its ``stop`` is set by the first error.
        jobs: one a thread; each looks at ``stop``.
        wake: called after an error, for jobs that wait for one another.

    Raises:
        BaseException: the first error of a job, or Ctrl-C of the caller.
    """
    failures: list[BaseException] = []
    lock = threading.Lock()
    ended: SimpleQueue[None] = SimpleQueue()

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except Stopped:
            pass
        except BaseException as error:
            with lock:
                is_late = http.stop.is_set()  # the others broke it, by ending
                if not is_late:
                    failures.append(error)
                    http.stop.set()
            if wake is not None:
                wake()
            http.abort()
        finally:
            ended.put(None)

    threads = [threading.Thread(target=guarded, args=(job,), daemon=True) for job in jobs]
    running = len(threads)
    try:
        for thread in threads:
            thread.start()
        while running and not http.stop.is_set():
            with suppress(Empty):
                ended.get(timeout=0.2)  # in slices, so that Ctrl-C is heard
                running -= 1
    finally:
        if running:
            http.abort()
        deadline = time.monotonic() + SECONDS_TO_END
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
    if failures:
        raise failures[0]
