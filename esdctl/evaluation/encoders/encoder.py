"""What an encoder of pictures is: it gives each a vector, and says how pictures are sized for it.

FID, KID and CLIP score mean nothing without it: a figure is compared with another only where both
were made by the same encoder, from as many pictures, sized in the same way.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from esdctl.evaluation.judges.detector import read_picture
from esdctl.progress import Reporter

# RGB pictures (B, H, W, 3) to features (B, F), float32 on the CPU.
Encode = Callable[[npt.NDArray[np.uint8]], torch.Tensor]


class Encoder(Protocol):
    """An encoder as files; its weights are read when it is loaded."""

    @property
    def name(self) -> str:
        """As figures name it, such as ``pocket judge, 320 features``."""
        ...

    @property
    def size(self) -> str:
        """What it sees, such as ``128 x 128``."""
        ...

    @property
    def resize(self) -> str:
        """How pictures of another size come to it."""
        ...

    def digest(self) -> str:
        """sha256 of what its features depend on."""
        ...

    def load(self, device: torch.device, reporter: Reporter) -> Encode:
        """Read the weights.

        Raises:
            InputError, IntegrityError: a file is damaged.
        """
        ...


def encode_files(
    encoder: Encoder,
    files: Sequence[Path],
    device: torch.device,
    reporter: Reporter,
    batch: int = 16,
) -> torch.Tensor:
    """Features of stored pictures, (N, F), in the order of the files.

    Args:
        encoder: the encoder.
        files: the pictures, of any sizes; neighbours of one size go through it together.
        device: where to compute.
        reporter: told of each batch.
        batch: at most so many pictures at once.

    Raises:
        InputError: a file is no picture; or as ``Encoder.load``.
        IntegrityError: as ``Encoder.load``.
    """
    task = f"features of {encoder.name}"
    encode = encoder.load(device, reporter)
    reporter.started(task, len(files), "pictures")
    rows: list[torch.Tensor] = []
    group: list[npt.NDArray[np.uint8]] = []
    done = 0
    for file in files:
        pixels = read_picture(file)
        if group and (len(group) == batch or group[0].shape != pixels.shape):
            rows.append(encode(np.stack(group)))
            done += len(group)
            reporter.advanced(task, done)
            group = []
        group.append(pixels)
    if group:
        rows.append(encode(np.stack(group)))
        reporter.advanced(task, len(files))
    reporter.finished(task)
    return torch.cat(rows) if rows else torch.zeros(0, 0)
