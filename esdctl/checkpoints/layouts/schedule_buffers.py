"""The noise schedule as CompVis checkpoints carry it: twelve tables over the timesteps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

# Names that LDM's DDPM class registers; readers ignore them, since the schedule is in the config.
SCHEDULE_BUFFERS = frozenset(
    {
        "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod",
        "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod",
        "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance",
        "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2",
    }
)  # fmt: skip
_SMALLEST_VARIANCE = 1e-20  # Ho et al.'s code clips at it before the logarithm


def schedule_buffers(scheduler: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The tables of a scaled-linear schedule (Ho et al. 2020, eqs. 4 and 7), float32.

    Args:
        scheduler: as ``Architecture.noise``.

    Returns:
        Twelve tensors of shape (timesteps,).
    """
    start = float(scheduler["beta_start"])
    end = float(scheduler["beta_end"])
    count = int(scheduler["num_train_timesteps"])
    # torch's linspace, whose last bits differ from NumPy's, as LDM computes it.
    roots = torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64)
    beta = (roots**2).numpy()
    alpha = 1 - beta
    bar = np.cumprod(alpha)  # alpha-bar_t
    before = np.append(1.0, bar[:-1])  # alpha-bar_(t-1)
    variance = beta * (1 - before) / (1 - bar)  # eq. 7
    tables = {
        "betas": beta,
        "alphas_cumprod": bar,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": np.sqrt(bar),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - bar),
        "log_one_minus_alphas_cumprod": np.log(1 - bar),
        "sqrt_recip_alphas_cumprod": np.sqrt(1 / bar),
        "sqrt_recipm1_alphas_cumprod": np.sqrt(1 / bar - 1),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": np.log(np.maximum(variance, _SMALLEST_VARIANCE)),
        "posterior_mean_coef1": beta * np.sqrt(before) / (1 - bar),
        "posterior_mean_coef2": (1 - before) * np.sqrt(alpha) / (1 - bar),
    }
    return {name: torch.from_numpy(table).to(torch.float32) for name, table in tables.items()}
