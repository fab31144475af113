"""One stage of work in a thread of its own, an item ahead of whoever takes from it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar

Item = TypeVar("Item")


def prefetched(items: Iterator[Item], stop: Event) -> Iterator[Item]:
    """The same items; while one is used, the next is made.

    Args:
        items: made in the thread; an error of theirs is raised here.
        stop: set when no more items are wanted, also by an error or Ctrl-C; what makes ``items``
            should ask it now and then, since the thread is waited for.
    """
    end = object()
    with ThreadPoolExecutor(1) as thread:
        pending = thread.submit(next, items, end)
        try:
            while (item := pending.result()) is not end:
                pending = thread.submit(next, items, end)
                yield item  # type: ignore[misc]  # the end alone is no item
        finally:
            stop.set()
