"""Blocks handed to a thread behind: all of them, in order, and its errors come back."""

import pytest

from esdctl.transfer.drain import Drain


def test_blocks_are_taken_in_order() -> None:
    taken: list[bytes] = []
    drain = Drain(taken.append)
    blocks = [bytes([number]) for number in range(50)]
    for block in blocks:
        drain.put(block)
    drain.close()
    assert taken == blocks


def test_an_error_reaches_the_giver_and_nobody_waits_for_ever() -> None:
    def fail(block: bytes) -> None:
        raise OSError("the disk is full")

    drain = Drain(fail)
    with pytest.raises(OSError, match="full"):
        for _ in range(50):
            drain.put(b"block")
    with pytest.raises(OSError, match="full"):
        drain.close()
