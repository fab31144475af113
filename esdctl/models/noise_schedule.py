"""A model's noise schedule, from its scheduler_config.json."""

from collections.abc import Mapping
from typing import Any

from esdctl.diffusion.schedule import Schedule, scaled_linear


def read_schedule(config: Mapping[str, Any]) -> Schedule:
    """The schedule that a scheduler's config describes; only the noise's amounts are read.

    Args:
        config: as ``Architecture.noise``; an ``Architecture`` has refused every other process.
    """
    return scaled_linear(
        config["beta_start"],
        config["beta_end"],
        config["prediction_type"],
        "trailing" if config.get("timestep_spacing") == "trailing" else "leading",
    )
