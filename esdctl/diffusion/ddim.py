"""DDIM (Song et al. 2021, eq. 12 with sigma = 0): the deterministic sampler."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from esdctl.diffusion.schedule import Schedule
from esdctl.diffusion.upload import upload

# (latents (B, 4, h, w), timestep) -> the model's prediction, (B, 4, h, w)
Predict = Callable[[torch.Tensor, int], torch.Tensor]

# A timestep, 0..999: one for all rows, or (B,), one a row
Timestep = int | torch.Tensor

CLEAN = -1  # the timestep below 0: the end of a trajectory


def signal_and_noise(schedule: Schedule, timestep: Timestep) -> tuple[torch.Tensor, torch.Tensor]:
    """sqrt(alpha-bar) and sqrt(1 - alpha-bar), fp32, on the CPU.

    The end of a trajectory has those of timestep 0, as in SD 1.x.

    Args:
        schedule: the model's.
        timestep: one for all rows, or one a row.

    Returns:
        Two tensors, of no dimensions for one timestep, else (B, 1, 1, 1).
    """
    a = schedule.alphas_cumprod[torch.as_tensor(timestep).cpu().clamp(min=0)]  # () or (B,)
    a = a if a.ndim == 0 else a.view(-1, 1, 1, 1)
    return a.sqrt().float(), (1 - a).sqrt().float()


def _beside(
    latents: torch.Tensor, schedule: Schedule, timestep: Timestep
) -> tuple[torch.Tensor, torch.Tensor]:
    """``signal_and_noise`` where they can be multiplied with latents; no device is waited for."""
    signal, noise = signal_and_noise(schedule, timestep)
    if signal.ndim == 0:  # a number, which a kernel is given with its arguments
        return signal, noise
    return upload(signal, latents.device), upload(noise, latents.device)


def to_epsilon(
    schedule: Schedule, prediction: torch.Tensor, latents: torch.Tensor, timestep: Timestep
) -> torch.Tensor:
    """The noise that a prediction stands for (Salimans & Ho 2022, eq. 9, for v), (B, 4, h, w)."""
    if schedule.prediction_type == "epsilon":
        return prediction
    signal, noise = _beside(latents, schedule, timestep)
    return signal * prediction + noise * latents


def ddim_step(
    schedule: Schedule,
    prediction: torch.Tensor,
    latents: torch.Tensor,
    t: Timestep,
    t_next: Timestep,
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
    (signal, noise), (signal_next, noise_next) = (
        _beside(latents, schedule, timestep) for timestep in (t, t_next)
    )
    eps = to_epsilon(schedule, prediction, latents, t)
    x0 = (latents - noise * eps) / signal
    return signal_next * x0 + noise_next * eps


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
