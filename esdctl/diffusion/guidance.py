"""Classifier-free guidance (Ho & Salimans 2022, eq. 6, in the scale that diffusers uses)."""

from collections.abc import Callable

import torch

from esdctl.diffusion.conditioning import Conditioning, concatenate
from esdctl.diffusion.schedule import Predict

# (latents (B, 4, h, w), timesteps (B,), B conditions) -> prediction (B, 4, h, w)
Denoiser = Callable[[torch.Tensor, torch.Tensor, Conditioning], torch.Tensor]


def guided(
    denoiser: Denoiser, conditional: Conditioning, unconditional: Conditioning, scale: float
) -> Predict:
    """A prediction function with the guidance built in.

    Both predictions are made in one pass of twice the batch. A scale of exactly 1 needs the
    conditional one alone, and 0 the unconditional one alone.

    Args:
        denoiser: the U-Net.
        conditional: the prompts, B rows.
        unconditional: the empty (or negative) prompts, B rows.
        scale: w in eps(0) + w (eps(c) - eps(0)).
    """

    def alone(conditioning: Conditioning) -> Predict:
        def predict(latents: torch.Tensor, t: float) -> torch.Tensor:
            return denoiser(latents, _timesteps(latents, t), conditioning)

        return predict

    if scale == 1.0:
        return alone(conditional)
    if scale == 0.0:
        return alone(unconditional)
    both = concatenate([unconditional, conditional])  # 2B rows

    def predict(latents: torch.Tensor, t: float) -> torch.Tensor:
        doubled = torch.cat([latents, latents])  # (2B, 4, h, w)
        eps_0, eps_c = denoiser(doubled, _timesteps(doubled, t), both).chunk(2)
        return combine(eps_0, eps_c, scale)

    return predict


def as_sampled(
    denoiser: Denoiser, conditional: Conditioning, unconditional: Conditioning, scale: float
) -> Predict:
    """The same as a model samples: where the network takes the scale as an input, that is all.

    Args: as of ``guided``; the network's own scale is replaced.
    """
    if conditional.guidance is None:
        return guided(denoiser, conditional, unconditional, scale)
    return guided(denoiser, conditional.with_guidance(scale), unconditional, 1.0)


def combine(eps_0: torch.Tensor, eps_c: torch.Tensor, scale: float) -> torch.Tensor:
    """The guided prediction, w in eps(0) + w (eps(c) - eps(0)); all (B, 4, h, w)."""
    return eps_0 + scale * (eps_c - eps_0)


def _timesteps(latents: torch.Tensor, t: float) -> torch.Tensor:
    return torch.full((len(latents),), t, device=latents.device)
