"""What every process from noise to picture answers, and the places between the two.

A trajectory has 1,000 places, 0 (nearly the picture) to 999 (nearly pure noise), whatever the
process; ``Schedule.at`` says which timestep a network is told at each. ``DiscreteSchedule`` (in
``ddim``) and ``FlowSchedule`` (in ``flow``) fill the Protocol in.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

import torch

from esdctl.diffusion.upload import upload

TRAIN_TIMESTEPS = 1000

# What networks are told, 0..999 in discrete steps, sigma x 1000 in flow matching: one for all rows,
# or (B,), one a row
Timestep = float | torch.Tensor

# (latents (B, C, h, w), timestep) -> the model's prediction, (B, C, h, w)
Predict = Callable[[torch.Tensor, float], torch.Tensor]

CLEAN = -1  # the timestep below all others: the end of a trajectory


class Schedule(Protocol):
    """One process; latents and predictions are (B, C, h, w)."""

    def at(self, place: int) -> float:
        """The timestep at a place, 0..999."""

    def at_each(self, places: torch.Tensor) -> torch.Tensor:
        """The timesteps at places, of any one shape."""

    def timesteps(self, steps: int) -> list[float]:
        """The timesteps of the deterministic sampler, noisiest first, without the end."""

    def way(self, steps: int, k: int) -> list[float]:
        """The timesteps that lead from pure noise into bin ``k`` of ``steps``, its own not among
        them; without any, pure noise stands for what is there."""

    def signal_and_noise(self, timestep: Timestep) -> tuple[torch.Tensor, torch.Tensor]:
        """The shares of picture and noise in x_t, fp32, on the CPU: of no dimensions for one
        timestep, else (B, 1, 1, 1)."""

    def split(
        self, prediction: torch.Tensor, latents: torch.Tensor, timestep: Timestep
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The picture x_0 and the noise that a prediction at x_t stands for."""

    def target(self, clean: torch.Tensor, noise: torch.Tensor, timestep: Timestep) -> torch.Tensor:
        """What a network should predict of x_t, made of these."""

    def step(
        self, prediction: torch.Tensor, latents: torch.Tensor, t: Timestep, t_next: Timestep
    ) -> torch.Tensor:
        """x_{t_next} from x_t by the deterministic step of first order.

        Args:
            prediction: at ``(latents, t)``.
            latents: x_t.
            t: where the latents are.
            t_next: where to go, below ``t``; ``CLEAN`` for the end.
        """


def run(
    schedule: Schedule, predict: Predict, latents: torch.Tensor, timesteps: Sequence[float]
) -> torch.Tensor:
    """Follow a trajectory through ``timesteps``.

    Args:
        predict: the (guided) model.
        latents: x at ``timesteps[0]``, (B, C, h, w).
        timesteps: falling; the last one is where the returned latents are (``CLEAN`` for a
            finished picture), and the model is not asked there.

    Returns:
        x at ``timesteps[-1]``.
    """
    for t, t_next in pairwise(timesteps):
        latents = schedule.step(predict(latents, t), latents, t, t_next)
    return latents


def beside(
    schedule: Schedule, latents: torch.Tensor, timestep: Timestep
) -> tuple[torch.Tensor, torch.Tensor]:
    """``signal_and_noise`` where they can be multiplied with latents; no device is waited for."""
    signal, noise = schedule.signal_and_noise(timestep)
    if signal.ndim == 0:  # a number, which a kernel is given with its arguments
        return signal, noise
    return upload(signal, latents.device), upload(noise, latents.device)


def bin_edges(steps: int, k: int) -> tuple[int, int]:
    """The places of bin ``k`` of ``steps`` equal bins: the first, and the one after the last.

    Args:
        steps: 1 to 1000.
        k: 0..steps-1; 0 is the cleanest.
    """
    return round(TRAIN_TIMESTEPS * k / steps), round(TRAIN_TIMESTEPS * (k + 1) / steps)
