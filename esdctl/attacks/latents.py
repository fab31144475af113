"""What attacks that start from pictures need: pictures to latents, noise on them, and back."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch

from esdctl.attacks.denoising import noised
from esdctl.attacks.target import Case, Target
from esdctl.diffusion.guidance import as_sampled
from esdctl.diffusion.schedule import CLEAN, Predict, Schedule
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.models.text import encode_prompts
from esdctl.sampling.noise import initial_noise
from esdctl.sampling.sample import Pixels


@torch.inference_mode()
def pictures_of(model: StableDiffusion, latents: torch.Tensor) -> list[Pixels]:
    """Scaled latents (B, 4, h, w) to pictures, (H, W, 3) each, uint8."""
    pixels = model.decode(latents).mul(255).round().to(torch.uint8)  # (B, 3, H, W)
    return list(pixels.permute(0, 2, 3, 1).cpu().numpy())


def noised_at(
    schedule: Schedule, latents: torch.Tensor, noise: torch.Tensor, t: float
) -> torch.Tensor:
    """x_t of x_0 and eps, all (B, 4, h, w), at one timestep."""
    x_t, _ = noised(schedule, latents, noise, torch.tensor(t))
    return x_t


def noise_of(target: Target, seeds: Sequence[int]) -> torch.Tensor:
    """The noise that sampling begins from under these seeds, (B, 4, h, w)."""
    side = target.side // target.model.vae_factor
    return initial_noise(seeds, (target.model.latent_channels, side, side)).to(target.model.device)


def predictor(target: Target, cases: Sequence[Case]) -> Predict:
    """The attacked model under the cases' plain prompts, with the target's guidance."""
    model, side = target.model, target.side
    conditional, empty = (
        encode_prompts(model, prompts).for_size(side, side)
        for prompts in ([case.prompt for case in cases], [""] * len(cases))
    )
    return as_sampled(model.denoise, conditional, empty, target.guidance)


def steps_from(target: Target, place: int) -> list[tuple[float, float]]:
    """The steps (t, t_next) of the target's sampler from a place, 0..999, down to the clean end.

    The first is at the lowest of the sampler's timesteps that is not below the place's, or at the
    noisiest.
    """
    timestep = target.schedule.at(place)
    every = target.schedule.timesteps(target.steps)  # falling
    first = max((i for i, t in enumerate(every) if t >= timestep), default=0)
    return list(pairwise([*every[first:], CLEAN]))


def batches(cases: Sequence[Case], at_once: int) -> Iterator[Sequence[Case]]:
    """The cases in their order, at most so many at once."""
    return (cases[start : start + at_once] for start in range(0, len(cases), at_once))
