"""A processor's cores side by side, each at work of its own.

torch divides each layer among its threads and lets them wait for each other; where there is enough
work to divide once, for a whole trajectory, nobody waits.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from threading import Event
from typing import TypeVar

import torch

Answer = TypeVar("Answer")


def run_in_threads(tasks: Sequence[Callable[[], Answer]], stop: Event) -> list[Answer]:
    """What each task gives, in their order; torch's threads are shared out among them.

    Args:
        tasks: at least one; a single one runs here, with all of torch's threads. The first error of
            theirs is raised, once all have ended.
        stop: set by an error or Ctrl-C; the tasks should ask it now and then, since they are
            waited for.
    """
    if len(tasks) == 1:
        return [tasks[0]()]
    threads = torch.get_num_threads()

    def run(task: Callable[[], Answer]) -> Answer:
        torch.set_num_threads(max(1, threads // len(tasks)))  # this thread's, and new threads'
        return task()

    try:
        with ThreadPoolExecutor(len(tasks)) as pool, _set_by_error(stop):
            futures = [pool.submit(run, task) for task in tasks]
            for future in as_completed(futures):
                future.result()
            return [future.result() for future in futures]
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _set_by_error(stop: Event) -> Iterator[None]:
    try:
        yield
    except BaseException:
        stop.set()
        raise
