"""Jobs handed to a background thread: all of them, in order, and their errors come back."""

from functools import partial

import pytest

from esdctl.transfer.background_worker import BackgroundWorker


def test_jobs_are_done_in_order() -> None:
    done: list[int] = []
    worker = BackgroundWorker()
    for number in range(50):
        worker.put(partial(done.append, number))
    worker.close()
    assert done == list(range(50))


def test_an_error_reaches_the_giver_and_nobody_waits_for_ever() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    worker = BackgroundWorker()
    with pytest.raises(OSError, match="full"):
        for _ in range(50):
            worker.put(fail)
    with pytest.raises(OSError, match="full"):
        worker.close()
