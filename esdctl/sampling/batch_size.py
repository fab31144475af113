"""``--batch-size auto``: as many pictures at once as the free memory holds, from one trial."""

from collections.abc import Callable

import torch

from esdctl.models.memory import SPARE, fitting_number, free_memory, peak_growth

LARGEST_ON_CPU = 16  # no faster a picture beyond: tests/measurements/README.md
LARGEST = 64


def fitting_batch_size(device: torch.device, trial: Callable[[], None]) -> int:
    """The largest power of two that fits; 1 where memory cannot be measured.

    Args:
        device: where pictures are made.
        trial: makes one picture in one step. It is called twice; the first call loads the model.

    Raises:
        DeviceError: by the trial, where not even one picture fits.
    """
    trial()
    grown = peak_growth(device, trial)
    free = free_memory(device)
    if free is None or grown is None:
        return 1
    largest = LARGEST_ON_CPU if device.type == "cpu" else LARGEST
    return fitting_number(grown, SPARE * free, largest)
