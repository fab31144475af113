"""The noise prediction error, which searches for prompts minimise."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from esdctl.attacks.target import Case, Target
from esdctl.diffusion.conditioning import Conditioning
from esdctl.diffusion.schedule import Schedule
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.sampling.sample import Pixels


@torch.no_grad()
def encoded(model: StableDiffusion, pictures: Sequence[Pixels]) -> torch.Tensor:
    """Scaled latents (B, 4, h, w) of pictures, (H, W, 3) each; the mean of what the VAE gives."""
    latents = []
    for pixels in pictures:
        picture = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        latents.append(model.encode(picture.to(model.device)))
    return torch.cat(latents)


def concept_latents(target: Target, cases: Sequence[Case]) -> torch.Tensor:
    """Latents (B, 4, h, w) of the base's pictures of the cases' prompts."""
    return encoded(target.model, target.pictures_like(cases))


def noised(
    schedule: Schedule, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """x_t, and what the network should predict of it.

    Args:
        schedule: the model's.
        latents, noise: x_0 and eps, (B, 4, h, w).
        timesteps: (B,).
    """
    signal, sigma = (part.to(latents.device) for part in schedule.signal_and_noise(timesteps))
    return signal * latents + sigma * noise, schedule.target(latents, noise, timesteps)


def prediction_error(
    model: StableDiffusion,
    latents: torch.Tensor,
    timesteps: torch.Tensor,
    told: Conditioning,
    noise: torch.Tensor,
) -> torch.Tensor:
    """The mean squared error of the U-Net's prediction, (B,); gradients go to ``told``.

    Args:
        model: the model.
        latents: x_0, (B, 4, h, w).
        timesteps: (B,).
        told: B rows.
        noise: eps, (B, 4, h, w).
    """
    x_t, wanted = noised(model.schedule, latents, noise, timesteps)
    factor = model.vae_factor
    told = told.for_size(latents.shape[-2] * factor, latents.shape[-1] * factor)
    predicted = model.denoise(x_t, timesteps, told)
    return F.mse_loss(predicted, wanted, reduction="none").mean((1, 2, 3))
