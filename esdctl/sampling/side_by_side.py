"""A processor's cores side by side, each at work of its own.

torch divides each layer among its threads and lets them wait for each other; where there is enough
work to divide once, for a whole trajectory, nobody waits.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Answer = TypeVar("Answer")


def side_by_side(tasks: Sequence[Callable[[], Answer]]) -> list[Answer]:
    """What each task gives, in their order; torch's threads are shared out among them.

    The first error of theirs is raised, once all have ended.

    Args:
        tasks: at least one; a single one runs here, with all of torch's threads.
    """
    if len(tasks) == 1:
        return [tasks[0]()]
    threads = torch.get_num_threads()

    def run(task: Callable[[], Answer]) -> Answer:
        torch.set_num_threads(max(1, threads // len(tasks)))  # this thread's, and new threads'
        return task()

    try:
        with ThreadPoolExecutor(len(tasks)) as pool:
            futures = [pool.submit(run, task) for task in tasks]
            return [future.result() for future in futures]
    finally:
        torch.set_num_threads(threads)
