"""Seconds of a piece of work on a device: warmed up, then the median of several."""

import gc
import statistics
import time
from collections.abc import Callable

import torch

ENOUGH = 1.0  # seconds of measuring; work that takes longer is measured once
REPEATS = 5


def seconds_of(
    device: torch.device, work: Callable[[], object], enough: float | None = None
) -> float:
    """How long ``work`` takes once its memory is there.

    The first time makes a device choose its kernels and take its memory. It counts only where it
    lasts longer than ``ENOUGH``; then that is small beside the work itself.

    Args:
        device: where it is done.
        work: what is measured.
        enough: seconds of measuring, in place of ``ENOUGH``.
    """
    first = _once(device, work)
    enough = ENOUGH if enough is None else enough
    if first > enough:
        return first
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < enough:
        times.append(_once(device, work))
    return statistics.median(times)


def _once(device: torch.device, work: Callable[[], object]) -> float:
    gc.collect()  # what the time before left behind is no part of this one's memory or time
    synchronise(device)
    began = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - began


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
