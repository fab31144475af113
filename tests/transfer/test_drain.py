"""Jobs handed to a thread behind: all of them, in order, and their errors come back."""

from functools import partial

import pytest

from esdctl.transfer.drain import Drain


def test_jobs_are_done_in_order() -> None:
    done: list[int] = []
    drain = Drain()
    for number in range(50):
        drain.put(partial(done.append, number))
    drain.close()
    assert done == list(range(50))


def test_an_error_reaches_the_giver_and_nobody_waits_for_ever() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    drain = Drain()
    with pytest.raises(OSError, match="full"):
        for _ in range(50):
            drain.put(fail)
    with pytest.raises(OSError, match="full"):
        drain.close()
