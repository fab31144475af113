"""What to sample: rows x seeds x settings, spelt out as a list of pictures."""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from esdctl.datasets.prompt_row import MAX_SEED, PromptRow
from esdctl.errors import UsageError
from esdctl.models.image_size import trained_size
from esdctl.models.resolve import Pipeline
from esdctl.sampling.defaults import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_SEED,
    DEFAULT_STEPS,
    default_guidance,
)
from esdctl.sampling.row_notes import is_suitable, unused_in_rows
from esdctl.sampling.schedulers import DDIM, Scheduler, most_steps

MAX_SEEDS = 100_000  # a larger range is a typing error
MAX_PICTURES = 1_000_000  # of one plan, which lists them all

BatchSize = int | Literal["auto"]

_SEEDS = re.compile(r"(\d{1,19})(?:-(\d{1,19}))?")

FP32 = "fp32"  # what a U-Net computes in where nothing is said


@dataclass(frozen=True)
class Picture:
    """One picture to make.

    Args:
        file: its name in the folder, unique in a plan.
        prompt: the text; "" is the unconditional picture.
        seed: of the initial noise, 0 to 2**63 - 1.
        guidance: scale; 1 is none.
        steps: of the scheduler, 1 to 1000.
        width, height: pixels, multiples of 8.
        scheduler: what solves the equation from noise to picture.
        dtype: what the U-Net computes in, fp32, bf16 or fp16.
    """

    file: str
    prompt: str
    seed: int
    guidance: float
    steps: int
    width: int
    height: int
    scheduler: Scheduler = DDIM
    dtype: str = FP32

    def document(self) -> dict[str, object]:
        """The settings as rows hold them; DDIM and fp32 are meant where none is named."""
        settings: dict[str, object] = asdict(self)
        if self.scheduler == DDIM:
            del settings["scheduler"]
        if self.dtype == FP32:
            del settings["dtype"]
        return settings


@dataclass(frozen=True)
class SamplingSettings:
    """What the user asked for all pictures; None leaves it to the row, then to the model.

    Args:
        seeds: each row is sampled once with each of them.
        guidance: scale, finite and not negative.
        steps: of the scheduler, 1 to 1000.
        image_size: side in pixels, a multiple of 8.
        scheduler: what solves the equation from noise to picture.
    """

    seeds: tuple[int, ...] | None = None
    guidance: float | None = None
    steps: int | None = None
    image_size: int | None = None
    scheduler: Scheduler = DDIM


@dataclass(frozen=True)
class SamplePlan:
    """The pictures, and the model that makes them.

    Args:
        model: what the user calls it.
        digest: sha256 of the model's files.
        pictures: in the order of the rows, then of the seeds.
        notes: what was asked for and does not count.
    """

    model: str
    digest: str
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = ()

    def in_dtype(self, dtype: str) -> "SamplePlan":
        """The same pictures by a U-Net that computes in fp32, bf16 or fp16."""
        return replace(self, pictures=tuple(replace(each, dtype=dtype) for each in self.pictures))

    @property
    def label(self) -> str:
        """A short name for a folder: the model's, and eight digits that stand for the plan."""
        content = json.dumps([self.digest, [picture.document() for picture in self.pictures]])
        path = Path(self.model)
        stem = path.parent.name if path.suffix == ".safetensors" else path.name
        readable = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "model"
        return f"{readable}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"

    def document(self) -> dict[str, object]:
        """The plan as a JSON document."""
        return {
            "model": self.model,
            "model_digest": self.digest,
            "pictures": [picture.document() for picture in self.pictures],
        }


def plan_pictures(
    pipeline: Pipeline, rows: Sequence[PromptRow], settings: SamplingSettings
) -> SamplePlan:
    """Spell out which pictures to make; a setting beats a row's own value, which beats the default.

    A row's size that is far from the model's own was meant for another model, and does not count.

    Args:
        pipeline: the model; its folder says how large its pictures are.
        rows: the prompts, at least one.
        settings: for all pictures.

    Returns:
        The plan; row 3 with seed 188 becomes ``00003-188.png``.

    Raises:
        UsageError: a setting is out of range, or a size does not suit the model.
        InputError: the model's folder does not say its size.
    """
    check_settings(settings)
    check_count(len(rows) * len(settings.seeds or (DEFAULT_SEED,)))
    side = trained_size(pipeline)
    asked = settings.seeds, settings.guidance, settings.image_size
    pictures = tuple(
        _picture(row, seed, f"{index:05d}-{seed}.png", settings, pipeline, side)
        for index, row in enumerate(rows)
        for seed in settings.seeds or (DEFAULT_SEED if row.seed is None else row.seed,)
    )
    for width, height in {(picture.width, picture.height) for picture in pictures}:
        check_size(width, side)
        check_size(height, side)
    notes = unused_in_rows(rows, *asked, side)
    return SamplePlan(pipeline.name, pipeline.identity(), pictures, notes)


def batch_size_for(text: str | None, device: str | None) -> BatchSize:
    """The batch that is named; where none is, what fits into a CUDA device, 8 elsewhere.

    Args:
        text: as in ``parse_batch_size``, or None.
        device: as in ``find_device``.

    Raises:
        UsageError: it is no batch, or no machine has such a device.
        DeviceError: this machine has no such device.
    """
    if text is not None:
        return parse_batch_size(text)
    from esdctl.models.devices import find_device

    return "auto" if find_device(device).type == "cuda" else DEFAULT_BATCH_SIZE


def parse_batch_size(text: str) -> BatchSize:
    """Read a number of at least 1, or ``auto``.

    Raises:
        UsageError: it is neither.
    """
    if text == "auto":
        return "auto"
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise UsageError(f"--batch-size is {text!r}", "use a number of at least 1, or auto")
    return int(text)


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read ``188,288``, ``0-9`` or a mixture of both; a seed named twice counts once.

    Raises:
        UsageError: it is none of these, a seed is too large, or there are over 100,000.
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = _SEEDS.fullmatch(part.strip())
        if found is None:
            raise UsageError(f"--seeds {text!r} names no seeds", "write 188,288 or 0-9")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first or last - first >= MAX_SEEDS:
            raise UsageError(
                f"--seeds: {part.strip()} runs backwards or over more than {MAX_SEEDS} seeds",
                "write the smaller seed first, as in 0-9",
            )
        seeds.extend(range(first, last + 1))
    return tuple(dict.fromkeys(seeds))


def _picture(
    row: PromptRow, seed: int, file: str, settings: SamplingSettings, pipeline: Pipeline, side: int
) -> Picture:
    guidance = settings.guidance if settings.guidance is not None else row.guidance
    width, height = row.width or side, row.height or side
    if not (is_suitable(width, side) and is_suitable(height, side)):
        width = height = side
    return Picture(
        file=file,
        prompt=row.prompt,
        seed=seed,
        guidance=default_guidance(pipeline) if guidance is None else guidance,
        steps=DEFAULT_STEPS if settings.steps is None else settings.steps,
        width=settings.image_size or width,
        height=settings.image_size or height,
        scheduler=settings.scheduler,
    )


def check_count(pictures: int) -> None:
    """Refuse more pictures than a plan can list.

    Raises:
        UsageError: says how many there are.
    """
    if pictures > MAX_PICTURES:
        raise UsageError(
            f"{pictures:,} pictures are more than {MAX_PICTURES:,}", "sample them in several runs"
        )


def check_settings(settings: SamplingSettings) -> None:
    """Refuse numbers out of range.

    Raises:
        UsageError: names the flag.
    """
    most = most_steps(settings.scheduler)
    if settings.steps is not None and not 1 <= settings.steps <= most:
        raise UsageError(f"--steps is {settings.steps}", f"use 1 to {most}")
    if settings.guidance is not None and not 0 <= settings.guidance < math.inf:
        raise UsageError(f"--guidance is {settings.guidance}", "use a number of at least 0")
    size = settings.image_size
    if size is not None and (size <= 0 or size % 8):
        raise UsageError(f"--image-size is {size}", "use a multiple of 8, such as 128 or 512")
    for seed in settings.seeds or ():
        if not 0 <= seed <= MAX_SEED:
            raise UsageError(f"the seed {seed} is out of range", f"use 0 to {MAX_SEED}")


def check_size(pixels: int, side: int) -> None:
    """Refuse sizes far from what a model was trained for: they show noise, or fill the memory.

    Args:
        pixels: the side that is asked for.
        side: what the model was trained for.

    Raises:
        UsageError: says which sizes there are.
    """
    smallest, largest = max(8, side // 4), side * 4
    if not smallest <= pixels <= largest:
        raise UsageError(
            f"pictures of {pixels} pixels do not suit a model that was trained on {side}",
            f"pass --image-size with a multiple of 8 from {smallest} to {largest}",
        )
