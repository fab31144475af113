"""Initial noise: one CPU generator a picture, so that batch, order and device never change it."""

from collections.abc import Sequence

import torch


def initial_noise(seeds: Sequence[int], shape: tuple[int, int, int]) -> torch.Tensor:
    """x_T for each seed.

    Args:
        seeds: one a picture, 0 to 2**63 - 1.
        shape: of one picture's latents, (4, h, w).

    Returns:
        Standard normal noise, (B, 4, h, w), float32, on the CPU; picture i depends on seed i alone.
    """
    return torch.stack(
        [
            torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
            for seed in seeds
        ]
    )
