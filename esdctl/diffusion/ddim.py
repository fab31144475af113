"""Diffusion in discrete steps, and DDIM (Song et al. 2021, eq. 12 with sigma = 0), its sampler."""

from dataclasses import dataclass
from typing import Literal

import torch

from esdctl.diffusion.schedule import TRAIN_TIMESTEPS, Timestep, beside
from esdctl.settings.prediction import PredictionType

Spacing = Literal["leading", "trailing"]


@dataclass(frozen=True)
class DiscreteSchedule:
    """A discrete variance-preserving schedule (Ho et al. 2020, eq. 4); a place is a timestep.

    Args:
        alphas_cumprod: alpha-bar, (1000,), float64 -> the share of signal power at each timestep.
        prediction_type: what the U-Net predicts.
        spacing: where DDIM's timesteps lie (Lin et al. 2023, table 2).
    """

    alphas_cumprod: torch.Tensor
    prediction_type: PredictionType = "epsilon"
    spacing: Spacing = "leading"

    def at(self, place: int) -> int:
        """The place itself."""
        return place

    def at_each(self, places: torch.Tensor) -> torch.Tensor:
        """The places themselves."""
        return places

    def timesteps(self, steps: int) -> list[float]:
        """See ``ddim_timesteps``."""
        return list(ddim_timesteps(steps, self.spacing))

    def way(self, steps: int, k: int) -> list[float]:
        """DDIM's own, one a bin; the noisiest bin needs no step: x_t is the initial noise."""
        return list(ddim_timesteps(steps)[: steps - 1 - k])

    def signal_and_noise(self, timestep: Timestep) -> tuple[torch.Tensor, torch.Tensor]:
        """sqrt(alpha-bar) and sqrt(1 - alpha-bar), fp32, on the CPU.

        The end of a trajectory has those of timestep 0, as in SD 1.x.

        Args:
            timestep: one for all rows, or one a row.

        Returns:
            Two tensors, of no dimensions for one timestep, else (B, 1, 1, 1).
        """
        a = self.alphas_cumprod[torch.as_tensor(timestep).cpu().clamp(min=0)]  # () or (B,)
        a = a if a.ndim == 0 else a.view(-1, 1, 1, 1)
        return a.sqrt().float(), (1 - a).sqrt().float()

    def split(
        self, prediction: torch.Tensor, latents: torch.Tensor, timestep: Timestep
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """x_0 and eps (Salimans & Ho 2022, eq. 9, for v), (B, 4, h, w) each."""
        signal, noise = beside(self, latents, timestep)
        eps = prediction
        if self.prediction_type == "v_prediction":
            eps = signal * prediction + noise * latents
        return (latents - noise * eps) / signal, eps

    def target(self, clean: torch.Tensor, noise: torch.Tensor, timestep: Timestep) -> torch.Tensor:
        """eps, or v, (B, 4, h, w)."""
        if self.prediction_type == "epsilon":
            return noise
        signal, sigma = beside(self, clean, timestep)
        return signal * noise - sigma * clean

    def step(
        self, prediction: torch.Tensor, latents: torch.Tensor, t: Timestep, t_next: Timestep
    ) -> torch.Tensor:
        """x_{t_next} from x_t by DDIM; as ``Schedule.step``."""
        clean, eps = self.split(prediction, latents, t)
        signal_next, noise_next = beside(self, latents, t_next)
        return signal_next * clean + noise_next * eps


def scaled_linear(
    beta_start: float = 0.00085,
    beta_end: float = 0.012,
    prediction_type: PredictionType = "epsilon",
    spacing: Spacing = "leading",
) -> DiscreteSchedule:
    """Stable Diffusion's schedule: betas linear in their square roots (LDM, ``linear``)."""
    betas = (
        torch.linspace(beta_start**0.5, beta_end**0.5, TRAIN_TIMESTEPS, dtype=torch.float64) ** 2
    )
    return DiscreteSchedule(torch.cumprod(1 - betas, dim=0), prediction_type, spacing)


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
