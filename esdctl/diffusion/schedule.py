"""The noise schedule: how much signal is left at each timestep, and which timesteps DDIM visits."""

from dataclasses import dataclass
from typing import Literal

import torch

from esdctl.settings.prediction import PredictionType

TRAIN_TIMESTEPS = 1000

Spacing = Literal["leading", "trailing"]


@dataclass(frozen=True)
class Schedule:
    """A discrete variance-preserving schedule (Ho et al. 2020, eq. 4).

    Args:
        alphas_cumprod: alpha-bar, (1000,), float64 -> the share of signal power at each timestep.
        prediction_type: what the U-Net predicts.
        spacing: where DDIM's timesteps lie (Lin et al. 2023, table 2).
    """

    alphas_cumprod: torch.Tensor
    prediction_type: PredictionType = "epsilon"
    spacing: Spacing = "leading"


def scaled_linear(
    beta_start: float = 0.00085,
    beta_end: float = 0.012,
    prediction_type: PredictionType = "epsilon",
    spacing: Spacing = "leading",
) -> Schedule:
    """Stable Diffusion's schedule: betas linear in their square roots (LDM, ``linear``)."""
    betas = (
        torch.linspace(beta_start**0.5, beta_end**0.5, TRAIN_TIMESTEPS, dtype=torch.float64) ** 2
    )
    return Schedule(torch.cumprod(1 - betas, dim=0), prediction_type, spacing)


def ddim_timesteps(steps: int, spacing: Spacing = "leading") -> list[int]:
    """The timesteps of a DDIM sampler, noisiest first.

    For a divisor of 1000 these are diffusers' (``leading`` with ``steps_offset`` 1, ``trailing``).
    For any other number they spread evenly over the whole range, where integer division would
    bunch them at the clean end.

    Args:
        steps: 1 to 1000.
        spacing: ``leading`` starts a step below the noisiest timestep, ``trailing`` at it.

    Returns:
        ``steps`` distinct integers in 0..999, falling.
    """
    if spacing == "trailing":
        return [round(TRAIN_TIMESTEPS * j / steps) - 1 for j in range(steps, 0, -1)]
    offset = 1 if steps < TRAIN_TIMESTEPS else 0
    return [TRAIN_TIMESTEPS * j // steps + offset for j in range(steps - 1, -1, -1)]


def bin_edges(steps: int, k: int) -> tuple[int, int]:
    """The timesteps of bin ``k`` of ``steps`` equal bins: the first, and the one after the last.

    Args:
        steps: 1 to 1000.
        k: 0..steps-1; 0 is the cleanest.
    """
    return round(TRAIN_TIMESTEPS * k / steps), round(TRAIN_TIMESTEPS * (k + 1) / steps)
