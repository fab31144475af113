"""``--batch-size auto``: how many pieces of work at once fit into the memory, and are fastest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from esdctl.models.memory import free_memory, is_lack_of_memory, peak_growth

GAIN = 0.05  # of a piece's time; a batch that gains less is not worth its memory
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
    device: torch.device,
    trial: Callable[[int], None],
    largest: int,
    in_trial: int = 0,
    kept: int = 0,
) -> FittingBatch | None:
    """The largest power of two of pieces that fit; at least 1.

    On CUDA, whose allocator tells exactly, a second piece tells what each takes from what is needed
    once; elsewhere all that a piece grows by counts as its own, but for ``in_trial``.

    Args:
        device: where they are worked on.
        trial: works on so many pieces. What is loaded once is loaded already.
        largest: more of them at once bring nothing.
        in_trial: bytes that the trial takes whatever the number of pieces.
        kept: bytes that are needed beside the trial, whatever the number of pieces.

    Returns:
        None where memory cannot be measured.

    Raises:
        DeviceError: by the caller's ``memory_errors``, where not even one piece fits.
    """
    free = free_memory(device)
    grown = peak_growth(device, partial(trial, 1))
    if free is None or grown is None:
        return None
    once, a_piece = in_trial, max(grown - in_trial, 1)
    if device.type == "cuda" and largest > 1 and 2 * grown + kept <= free * SPARE:
        a_piece = max((peak_growth(device, partial(trial, 2)) or 0) - grown, 1)
        once = max(grown - a_piece, 0)
    room = free * SPARE - kept - once
    size = 1
    while size < largest and 2 * size * a_piece <= room:
        size *= 2
    return FittingBatch(size, a_piece, free)


def fastest(sizes: Sequence[int], seconds: Callable[[int], float]) -> int:
    """The size whose pieces take least time each, by trials that end where a size gains nothing.

    Args:
        sizes: from the smallest on; at least one.
        seconds: how long a batch of a size takes. What does not fit after all is left out.
    """
    best, least = sizes[0], seconds(sizes[0]) / sizes[0]
    for size in sizes[1:]:
        try:
            a_piece = seconds(size) / size
        except (MemoryError, RuntimeError) as error:
            if not is_lack_of_memory(error):
                raise
            break
        if a_piece > least * (1 - GAIN):
            break
        best, least = size, a_piece
    return best
