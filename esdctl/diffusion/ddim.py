"""DDIM (Song et al. 2021, eq. 12 with sigma = 0): the deterministic sampler."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from esdctl.diffusion.schedule import Schedule

# (latents (B, 4, h, w), timestep) -> the model's prediction, (B, 4, h, w)
Predict = Callable[[torch.Tensor, int], torch.Tensor]

CLEAN = -1  # the timestep below 0: the end of a trajectory


def alpha_bar(schedule: Schedule, timestep: int) -> float:
    """Signal power at a timestep; the end of a trajectory has that of timestep 0, as in SD 1.x."""
    return float(schedule.alphas_cumprod[max(timestep, 0)])


def to_epsilon(
    schedule: Schedule, prediction: torch.Tensor, latents: torch.Tensor, timestep: int
) -> torch.Tensor:
    """The noise that a prediction stands for (Salimans & Ho 2022, eq. 9, for v), (B, 4, h, w)."""
    if schedule.prediction == "epsilon":
        return prediction
    a = alpha_bar(schedule, timestep)
    return math.sqrt(a) * prediction + math.sqrt(1 - a) * latents


def ddim_step(
    schedule: Schedule, prediction: torch.Tensor, latents: torch.Tensor, t: int, t_next: int
) -> torch.Tensor:
    """x_{t_next} from x_t.

    Args:
        prediction: eps or v at ``(latents, t)``, (B, 4, h, w).
        latents: x_t, (B, 4, h, w).
        t: where the latents are, 0..999.
        t_next: where to go; below ``t``, ``CLEAN`` for the end.

    Returns:
        x_{t_next}, (B, 4, h, w).
    """
    a, a_next = alpha_bar(schedule, t), alpha_bar(schedule, t_next)
    eps = to_epsilon(schedule, prediction, latents, t)
    x0 = (latents - math.sqrt(1 - a) * eps) / math.sqrt(a)
    return math.sqrt(a_next) * x0 + math.sqrt(1 - a_next) * eps


def run_ddim(
    schedule: Schedule, predict: Predict, latents: torch.Tensor, timesteps: Sequence[int]
) -> torch.Tensor:
    """Follow a trajectory through ``timesteps``.

    Args:
        predict: the (guided) model.
        latents: x at ``timesteps[0]``, (B, 4, h, w).
        timesteps: falling; the last one is where the returned latents are (``CLEAN`` for a
            finished picture), and the model is not asked there.

    Returns:
        x at ``timesteps[-1]``, (B, 4, h, w).
    """
    for t, t_next in pairwise(timesteps):
        latents = ddim_step(schedule, predict(latents, t), latents, t, t_next)
    return latents
