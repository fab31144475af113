"""The random choices of one trajectory of a pool, a function of (seed, its number) alone."""

from dataclasses import dataclass

import torch

from esdctl.diffusion.schedule import bin_edges
from esdctl.erasing.randomness import below, generator_at

_STREAM = 1  # apart from the streams that a step's own choices are drawn from


@dataclass(frozen=True)
class PooledDraw:
    """What a trajectory of S steps is made from.

    Args:
        prompt: index of the concept's prompt; they take turns, so that the few rows of a step
            share them evenly.
        retained: indices of retained prompts, one a step; zeros where there are none.
        places: one a bin, drawn uniformly inside it, noisiest first. So any place of 0..999 is met
            equally often, as in the exact trajectory.
        noise: z ~ N(0, I), (4, h, w), on the CPU.
    """

    prompt: int
    retained: list[int]
    places: list[int]
    noise: torch.Tensor


def pooled_draw(
    seed: int, number: int, ddim_steps: int, prompts: int, retained: int, shape: tuple[int, ...]
) -> PooledDraw:
    """Draw the choices of one trajectory.

    Args:
        seed, number: what they depend on.
        ddim_steps: S.
        prompts, retained: how many there are to choose from.
        shape: of one latent, (4, h, w).
    """
    generator = generator_at(seed, _STREAM, number)
    edges = (bin_edges(ddim_steps, k) for k in range(ddim_steps - 1, -1, -1))
    return PooledDraw(
        prompt=(seed + number) % prompts,
        retained=torch.randint(max(retained, 1), (ddim_steps,), generator=generator).tolist(),
        places=[low + below(high - low, generator) for low, high in edges],
        noise=torch.randn(shape, generator=generator),
    )
