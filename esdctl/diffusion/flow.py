"""Flow matching (Lipman et al. 2023; Esser et al. 2024): straight lines from noise to picture.

    x_sigma = (1 - sigma) x_0 + sigma z,    the network predicts  v = z - x_0

sigma falls from 1, pure noise, to 0, the picture. Guidance and the target of ESD are linear in v at
a fixed (x_sigma, sigma), so what holds for eps holds for v.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from esdctl.diffusion.schedule import TRAIN_TIMESTEPS, Timestep, beside

Sigmas = TypeVar("Sigmas", float, torch.Tensor)


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


@dataclass(frozen=True)
class FlowSchedule:
    """The flow of one model at one picture size; a timestep is sigma x 1000.

    Places are even before the shift, so that the noisier ones are met as often as in sampling.

    Args:
        shift: s of ``shifted``; 1 for none.
        sigmas_of: number of steps -> the sampler's sigmas with the 0 at their end.
        shift_of: number of steps -> the sampler's s, where it depends on them; ``shift`` is then
            that of the usual number.
    """

    shift: float
    sigmas_of: Callable[[int], torch.Tensor]
    shift_of: Callable[[int], float] | None = None

    def at(self, place: int) -> float:
        """sigma x 1000 of the far end of a place's thousandth."""
        return TRAIN_TIMESTEPS * shifted((place + 1) / TRAIN_TIMESTEPS, self.shift)

    def at_each(self, places: torch.Tensor) -> torch.Tensor:
        """The same of each of them, fp32."""
        return TRAIN_TIMESTEPS * shifted((places + 1) / TRAIN_TIMESTEPS, self.shift)

    def timesteps(self, steps: int) -> list[float]:
        """Those of the model's own sampler."""
        return [TRAIN_TIMESTEPS * sigma for sigma in self.sigmas_of(steps)[:-1].tolist()]

    def shift_at(self, steps: int) -> float:
        """s of a sampler of so many steps."""
        return self.shift if self.shift_of is None else self.shift_of(steps)

    def way(self, steps: int, k: int) -> list[float]:
        """From sigma 1 on, at the noisy end of each bin down to ``k``."""
        ends = (round(TRAIN_TIMESTEPS * (j + 1) / steps) - 1 for j in range(steps - 1, k - 1, -1))
        return [self.at(end) for end in ends]

    def signal_and_noise(self, timestep: Timestep) -> tuple[torch.Tensor, torch.Tensor]:
        """1 - sigma and sigma, as ``Schedule.signal_and_noise``; the end is the picture itself."""
        sigma = torch.as_tensor(timestep).cpu().double().clamp(min=0) / TRAIN_TIMESTEPS
        sigma = sigma if sigma.ndim == 0 else sigma.view(-1, 1, 1, 1)
        return (1 - sigma).float(), sigma.float()

    def split(
        self, prediction: torch.Tensor, latents: torch.Tensor, timestep: Timestep
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """x_0 = x - sigma v and z = x + (1 - sigma) v, (B, C, h, w) each."""
        signal, sigma = beside(self, latents, timestep)
        return latents - sigma * prediction, latents + signal * prediction

    def target(self, clean: torch.Tensor, noise: torch.Tensor, timestep: Timestep) -> torch.Tensor:
        """v = z - x_0, (B, C, h, w), at any sigma."""
        return noise - clean

    def step(
        self, prediction: torch.Tensor, latents: torch.Tensor, t: Timestep, t_next: Timestep
    ) -> torch.Tensor:
        """Euler's, which on a straight line is DDIM's: x + (sigma' - sigma) v."""
        _, sigma = beside(self, latents, t)
        _, sigma_next = beside(self, latents, t_next)
        return latents + (sigma_next - sigma) * prediction


def shifted(sigmas: Sigmas, shift: float) -> Sigmas:
    """s sigma / (1 + (s - 1) sigma): more steps at high noise (Esser et al. 2024, eq. 23)."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def static_sigmas(steps: int, shift: float) -> torch.Tensor:
    """The sigmas of SD 3's sampler: (steps + 1,), float64, falling from 1 to 0.

    The least before 0 is shifted twice, as in diffusers' FlowMatchEulerDiscreteScheduler.

    Args:
        steps: 1 to 1000.
        shift: 3 for SD 3; 1 for none.
    """
    least = shifted(torch.tensor(1 / TRAIN_TIMESTEPS, dtype=torch.float64), shift).item()
    return _ended(shifted(torch.linspace(1, least, steps, dtype=torch.float64), shift))


def even_sigmas(steps: int, shift: float) -> torch.Tensor:
    """The sigmas of FLUX's samplers, even before the shift: (steps + 1,), float64, from 1 to 0.

    Args:
        steps: 1 to 1000.
        shift: as in ``shifted``.
    """
    return _ended(shifted(torch.linspace(1, 1 / steps, steps, dtype=torch.float64), shift))


def noised(x_0: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """x_sigma, (B, C, h, w), of sigma (B,)."""
    beside = sigma.view(-1, 1, 1, 1)
    return (1 - beside) * x_0 + beside * noise


def static_flow(shift: float) -> FlowSchedule:
    """SD 3's: one shift for all sizes."""
    return FlowSchedule(shift, partial(static_sigmas, shift=shift))


def even_flow(shift: float) -> FlowSchedule:
    """FLUX.1 schnell's: the same shift for all sizes, and even steps before it."""
    return FlowSchedule(shift, partial(even_sigmas, shift=shift))


def length_flow(length: int, shift: LengthShift) -> FlowSchedule:
    """FLUX.1's at one picture size: ``length`` is the picture's, in tokens."""
    return even_flow(math.exp(shift.at(length)))


def empirical_flow(length: int, usual_steps: int) -> FlowSchedule:
    """FLUX.2's: the shift grows with the picture, ``length`` tokens, and falls with the steps.

    Args:
        length: of the picture, in tokens.
        usual_steps: of the model's pictures; in training the noise is shifted as there.
    """

    def shift_of(steps: int) -> float:
        return math.exp(empirical_shift(length, steps))

    return FlowSchedule(
        shift_of(usual_steps), lambda steps: even_sigmas(steps, shift_of(steps)), shift_of
    )


def empirical_shift(length: int, steps: int) -> float:
    """The log of FLUX.2's shift (``compute_empirical_mu`` in Black Forest Labs' flux2).

    Fitted at 10 and at 200 steps, each linear in the length, and linear in the steps between them;
    pictures of more than 4,300 tokens have that of 200 steps.
    """
    at_200 = 0.00016927 * length + 0.45666666
    if length > 4300:
        return at_200
    at_10 = 8.73809524e-05 * length + 1.89833333
    return at_200 + (at_200 - at_10) / 190 * (steps - 200)


def _ended(sigmas: torch.Tensor) -> torch.Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])
