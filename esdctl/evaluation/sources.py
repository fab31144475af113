"""Where the pictures that are judged come from: a model that samples them, or a folder of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from esdctl.errors import InputError
from esdctl.evaluation.cases import Case
from esdctl.models.precision import DTYPES
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load
from esdctl.progress import Reporter
from esdctl.sampling.pictures import make_pictures
from esdctl.sampling.plan import BatchSize, SamplePlan
from esdctl.sampling.sample import Pixels, sample

READ_AT_ONCE = 16  # stored pictures

Batches = Iterator[tuple[list[Case], list[Pixels]]]  # pixels (H, W, 3) each


class PictureSource(Protocol):
    """What gives the pictures of cases."""

    @property
    def name(self) -> str: ...

    @property
    def folder(self) -> Path | None:
        """Where the pictures lie; None where they are not kept."""
        ...

    def digest(self) -> str:
        """sha256 that stands for the pictures' maker."""
        ...

    def prepare(self, cases: Sequence[Case], batch_size: BatchSize, reporter: Reporter) -> None:
        """Bring all cases' pictures to the folder, if they are kept.

        Raises:
            Interrupted, InputError, UsageError, DeviceError, StorageError: as ``make_pictures``.
        """
        ...

    def batches(self, cases: Sequence[Case], batch_size: BatchSize) -> Batches:
        """The cases' pictures, a batch at a time.

        Raises:
            InputError, DeviceError: as ``sample``; a picture is missing or damaged.
        """
        ...


@dataclass(frozen=True)
class ModelPictures:
    """Pictures that a model makes.

    Args:
        pipeline: the model.
        device: where to sample.
        folder: where to keep them; they are then judged as they are stored. None keeps none.
    """

    pipeline: Pipeline
    device: torch.device
    folder: Path | None = None

    @property
    def name(self) -> str:
        return self.pipeline.name

    def digest(self) -> str:
        return self.pipeline.digest()

    def prepare(self, cases: Sequence[Case], batch_size: BatchSize, reporter: Reporter) -> None:
        if self.folder is None:
            return
        pictures = tuple(case.picture for case in cases)
        plan = SamplePlan(self.pipeline.name, self.pipeline.identity(), pictures)
        make_pictures(
            plan,
            self.folder,
            lambda: load(self.pipeline, self.device, DTYPES[pictures[0].dtype]),
            batch_size,
            reporter,
            show=lambda row: None,
        )

    def batches(self, cases: Sequence[Case], batch_size: BatchSize) -> Batches:
        if self.folder is not None:
            yield from stored_batches(cases, self.folder)
            return
        by_picture = {case.picture: case for case in cases}
        if not cases:
            return
        model = load(self.pipeline, self.device, DTYPES[cases[0].picture.dtype])
        for batch in sample(model, list(by_picture), batch_size):
            yield [by_picture[picture] for picture, _ in batch], [pixels for _, pixels in batch]


def stored_batches(
    cases: Sequence[Case], folder: Path, names: Mapping[str, str] | None = None
) -> Batches:
    """Cases and their pictures as they are on disk, a few of one size at a time.

    Args:
        cases: what to read.
        folder: where the pictures lie.
        names: a case's file -> its name in the folder, where that is another.

    Raises:
        InputError: a file is missing, or is no picture.
    """
    batch: list[Case] = []
    pixels: list[Pixels] = []
    for case in cases:
        file = case.picture.file
        picture = read_picture(folder / (names or {}).get(file, file))
        if batch and (len(batch) == READ_AT_ONCE or picture.shape != pixels[0].shape):
            yield batch, pixels
            batch, pixels = [], []
        batch.append(case)
        pixels.append(picture)
    if batch:
        yield batch, pixels


def read_picture(path: Path) -> Pixels:
    """A picture file's pixels, (H, W, 3), RGB.

    Raises:
        InputError: it is missing, or no picture.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read the picture {path}: {error}", "make it again") from error
