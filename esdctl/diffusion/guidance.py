"""Classifier-free guidance (Ho & Salimans 2022, eq. 6, in the scale that diffusers uses)."""

from collections.abc import Callable

import torch

from esdctl.diffusion.ddim import Predict

# (latents (B, 4, h, w), timesteps (B,), embeddings (B, 77, D)) -> prediction (B, 4, h, w)
Denoiser = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def guided(
    denoiser: Denoiser, conditional: torch.Tensor, unconditional: torch.Tensor, scale: float
) -> Predict:
    """A prediction function with the guidance built in.

    Both predictions are made in one pass of twice the batch. A scale of exactly 1 needs the
    conditional one alone, and 0 the unconditional one alone.

    Args:
        denoiser: the U-Net.
        conditional: embeddings of the prompts, (B, 77, D).
        unconditional: embeddings of the empty (or negative) prompts, (B, 77, D).
        scale: w in eps(0) + w (eps(c) - eps(0)).
    """

    def alone(embeddings: torch.Tensor) -> Predict:
        def predict(latents: torch.Tensor, t: int) -> torch.Tensor:
            return denoiser(latents, _timesteps(latents, t), embeddings)

        return predict

    if scale == 1.0:
        return alone(conditional)
    if scale == 0.0:
        return alone(unconditional)
    both = torch.cat([unconditional, conditional])  # (2B, 77, D)

    def predict(latents: torch.Tensor, t: int) -> torch.Tensor:
        doubled = torch.cat([latents, latents])  # (2B, 4, h, w)
        eps_0, eps_c = denoiser(doubled, _timesteps(doubled, t), both).chunk(2)
        return eps_0 + scale * (eps_c - eps_0)

    return predict


def _timesteps(latents: torch.Tensor, t: int) -> torch.Tensor:
    return torch.full((len(latents),), t, dtype=torch.long, device=latents.device)
