"""What sampling costs: a batch of few steps and one of more tell a step's share from the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.models.stopwatch import seconds_of
from esdctl.sampling.plan import Picture
from esdctl.sampling.sample import batches_of, sample

FEW, MORE = 1, 5  # DDIM steps
SLOW = 4.0  # seconds of a batch of one step from which on 2 steps must do


@dataclass(frozen=True)
class SamplingCost:
    """Of a batch.

    Args:
        pictures: in the batch.
        step_seconds: of one DDIM step.
        other_seconds: of all else: embeddings, decoding.
    """

    pictures: int
    step_seconds: float
    other_seconds: float

    def seconds(self, steps: int) -> float:
        """Of the batch with so many steps."""
        return self.step_seconds * steps + self.other_seconds

    def seconds_a_picture(self, steps: int) -> float:
        """Its part of the batch."""
        return self.seconds(steps) / self.pictures


def sampling_seconds(model: StableDiffusion, pictures: Sequence[Picture], batch_size: int) -> float:
    """How long pictures take: the batches that they are made in, each kind of batch measured short.

    Args:
        model: the base or an erased model.
        pictures: what is to be made.
        batch_size: at most so many at once.
    """
    costs: dict[tuple[object, ...], SamplingCost] = {}
    total = 0.0
    for batch in batches_of(pictures, batch_size):
        first = batch[0]
        kind = (first.width, first.height, first.guidance, first.scheduler, len(batch))
        if kind not in costs:
            costs[kind] = measure_sampling(model, batch)
        total += costs[kind].seconds(first.steps)
    return total


def measure_sampling(model: StableDiffusion, batch: Sequence[Picture]) -> SamplingCost:
    """Sample a batch with few steps and with more.

    Args:
        model: stays as it is.
        batch: pictures of one size and guidance; their steps do not count.
    """

    def seconds(steps: int) -> float:
        short = [replace(picture, steps=steps) for picture in batch]
        return seconds_of(model.device, lambda: list(sample(model, short, len(short))))

    few = seconds(FEW)
    more_steps = MORE if few < SLOW else FEW + 1
    step = max(0.0, seconds(more_steps) - few) / (more_steps - FEW)
    return SamplingCost(len(batch), step, max(0.0, few - FEW * step))


def some_pictures(model: StableDiffusion, count: int, guidance: float) -> list[Picture]:
    """Pictures of the model's own size, for measuring."""
    side = model.image_size
    return [
        Picture(f"{i}.png", f"a picture of number {i}", i, guidance, FEW, side, side)
        for i in range(count)
    ]
