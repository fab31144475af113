"""Flow matching (Lipman et al. 2023; Esser et al. 2024): straight lines from noise to picture.

    x_sigma = (1 - sigma) x_0 + sigma z,    the network predicts  v = z - x_0

sigma falls from 1, pure noise, to 0, the picture. Guidance and the target of ESD are linear in v at
a fixed (x_sigma, sigma), so what holds for eps holds for v.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch

# (latents (B, C, h, w), sigma (B,)) -> velocity (B, C, h, w)
Velocity = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

TRAIN_STEPS = 1000  # sigma x 1000 is what networks of this kind are told as the timestep


@dataclass(frozen=True)
class LengthShift:
    """A shift that grows with the picture (Esser et al. 2024, section 5.3.2, as FLUX.1 has it).

    Args:
        base_length, base_shift: tokens of the smallest picture, and the log of its shift.
        max_length, max_shift: the same of the largest.
    """

    base_length: int = 256
    base_shift: float = 0.5
    max_length: int = 4096
    max_shift: float = 1.15

    def at(self, length: int) -> float:
        """The log of the shift of a picture of ``length`` tokens, linear in it."""
        slope = (self.max_shift - self.base_shift) / (self.max_length - self.base_length)
        return self.base_shift + slope * (length - self.base_length)


def shifted(sigmas: torch.Tensor, shift: float) -> torch.Tensor:
    """s sigma / (1 + (s - 1) sigma): more steps at high noise (Esser et al. 2024, eq. 23)."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def static_sigmas(steps: int, shift: float) -> torch.Tensor:
    """The sigmas of SD 3's sampler: (steps + 1,), float64, falling from 1 to 0.

    The least before 0 is shifted twice, as in diffusers' FlowMatchEulerDiscreteScheduler.

    Args:
        steps: 1 to 1000.
        shift: 3 for SD 3; 1 for none.
    """
    least = shifted(torch.tensor(1 / TRAIN_STEPS, dtype=torch.float64), shift).item()
    return _ended(shifted(torch.linspace(1, least, steps, dtype=torch.float64), shift))


def length_sigmas(steps: int, length: int, shift: LengthShift) -> torch.Tensor:
    """The sigmas of FLUX.1's sampler: (steps + 1,), float64, falling from 1 to 0.

    Args:
        steps: 1 to 1000.
        length: tokens of the picture.
        shift: how it grows with the length.
    """
    even = torch.linspace(1, 1 / steps, steps, dtype=torch.float64)
    return _ended(shifted(even, math.exp(shift.at(length))))


def noised(x_0: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """x_sigma, (B, C, h, w), of sigma (B,)."""
    beside = sigma.view(-1, 1, 1, 1)
    return (1 - beside) * x_0 + beside * noise


def euler_step(
    latents: torch.Tensor, velocity: torch.Tensor, sigma: float, sigma_next: float
) -> torch.Tensor:
    """x_{sigma_next} from x_sigma, of one shape with the velocity there."""
    return latents + (sigma_next - sigma) * velocity


def run_euler(velocity: Velocity, latents: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Follow the flow through ``sigmas``.

    Args:
        velocity: the (guided) model.
        latents: x at ``sigmas[0]``, (B, C, h, w).
        sigmas: falling, (steps + 1,); the model is not asked at the last one.

    Returns:
        x at ``sigmas[-1]``.
    """
    for sigma, sigma_next in pairwise(sigmas.tolist()):
        asked = torch.full((len(latents),), sigma, device=latents.device)
        latents = euler_step(latents, velocity(latents, asked), sigma, sigma_next)
    return latents


def _ended(sigmas: torch.Tensor) -> torch.Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])
