"""What sampling costs: a batch of few steps and one of more tell a step's share from the rest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from esdctl.benchmark.stopwatch import seconds_of
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.sampling.plan import Picture
from esdctl.sampling.sample import sample

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

    def seconds_a_picture(self, steps: int) -> float:
        """With so many DDIM steps."""
        return (self.step_seconds * steps + self.other_seconds) / self.pictures


def sampling_seconds(model: StableDiffusion, pictures: Sequence[Picture], batch_size: int) -> float:
    """How long pictures take, from short batches of each of their kinds.

    Args:
        model: the base or an erased model.
        pictures: what is to be made.
        batch_size: at most so many at once.
    """
    kinds = Counter((each.width, each.height, each.guidance, each.steps) for each in pictures)
    costs: dict[tuple[int, int, float], SamplingCost] = {}
    total = 0.0
    for (*kind, steps), count in kinds.items():
        width, height, guidance = kind
        key = (int(width), int(height), guidance)
        if key not in costs:
            alike = [each for each in pictures if (each.width, each.height, each.guidance) == key]
            costs[key] = measure_sampling(model, alike[:batch_size])
        total += count * costs[key].seconds_a_picture(int(steps))
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
