"""A model's noise schedule, from its scheduler_config.json."""

from collections.abc import Mapping
from typing import Any

from esdctl.diffusion.schedule import TRAIN_TIMESTEPS, Schedule, scaled_linear
from esdctl.errors import InputError
from esdctl.settings.prediction import PREDICTION_TYPES


def read_schedule(config: Mapping[str, Any], source: str) -> Schedule:
    """The schedule that a scheduler's config describes.

    Args:
        config: of whatever sampler; only the noise's amounts are read.
        source: the model, for messages.

    Raises:
        InputError: it is not one of Stable Diffusion's.
    """
    kind = config.get("beta_schedule", "scaled_linear")
    prediction = config.get("prediction_type", "epsilon")
    spacing = config.get("timestep_spacing", "leading")
    other = [
        f"beta_schedule {kind}" if kind != "scaled_linear" else "",
        f"prediction_type {prediction}" if prediction not in PREDICTION_TYPES else "",
        "betas of its own" if config.get("trained_betas") is not None else "",
        "zero terminal SNR" if config.get("rescale_betas_zero_snr") else "",
        f"{config['num_train_timesteps']} timesteps"
        if config.get("num_train_timesteps", TRAIN_TIMESTEPS) != TRAIN_TIMESTEPS
        else "",
    ]
    if any(other):
        raise InputError(
            f"{source} has another noise schedule than Stable Diffusion: "
            f"{', '.join(filter(None, other))}",
            "this version has Stable Diffusion's own alone; use a model with that",
        )
    return scaled_linear(
        config.get("beta_start", 0.00085),
        config.get("beta_end", 0.012),
        prediction,
        "trailing" if spacing == "trailing" else "leading",
    )
