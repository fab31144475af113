"""``--batch-size auto``: as many pieces of work at once as the free memory holds, by one trial."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from esdctl.models.memory import free_memory, peak_growth

SPARE = 0.8  # of the free memory; the rest is for what grows later and for other programs


@dataclass(frozen=True)
class FittingBatch:
    """What fits.

    Args:
        size: pieces at once.
        a_piece: bytes that one of them takes.
        free: bytes that were free before the trial.
    """

    size: int
    a_piece: int
    free: int


def fitting_batch(
    device: torch.device, trial: Callable[[], None], largest: int, in_trial: int = 0, kept: int = 0
) -> FittingBatch | None:
    """The largest power of two of pieces that fit; at least 1.

    Args:
        device: where they are worked on.
        trial: works on one piece. What is loaded once is loaded already.
        largest: more of them at once bring nothing.
        in_trial: bytes that the trial takes whatever the number of pieces.
        kept: bytes that are needed beside the pieces, whatever their number.

    Returns:
        None where memory cannot be measured.

    Raises:
        DeviceError: by the caller's ``memory_errors``, where not even one piece fits.
    """
    free = free_memory(device)
    grown = peak_growth(device, trial)
    if free is None or grown is None:
        return None
    a_piece = max(grown - in_trial, 1)
    room = free * SPARE - kept
    size = 1
    while size < largest and 2 * size * a_piece <= room:
        size *= 2
    return FittingBatch(size, a_piece, free)
