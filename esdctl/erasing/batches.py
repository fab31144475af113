"""What a batch changes beside its size: the number of steps, and the learning rate.

A rate belongs to the batch that it was chosen with, b. At B latents a step, of equal pairs, it is
lr (B / b)^p; the power was chosen by measurement: tests/measurements/batches.py. Equal pairs erase
equally while enough steps remain. Loads no torch.
"""

import math
from collections.abc import Mapping

from esdctl.erasing.config import TrainConfig
from esdctl.erasing.preset import Preset
from esdctl.erasing.training_length import steps_of
from esdctl.settings.resolve import Resolved

# Of equal pairs on pocket, 16 steps at batch 16 for 64 at batch 4: with 1/2 Van Gogh stays, with 1
# Mosaic takes neighbours with it, with 3/4 neither.
POWER = 0.75
USUAL = 1  # latents a step, where neither preset nor user names a batch
LARGEST = 16  # latents a step; up to it the power was measured
# On pocket 64 pairs erase six concepts in 16 steps and in 64, and leave Van Gogh in 8 and in 4
# (by 1/2: UA 10 and 0 to 20 %; 4 by 1: 0 %): tests/measurements/README.md.
LEAST_STEPS = 16


def usual_batch(found: Resolved[TrainConfig], preset: Preset) -> int | None:
    """The batch that the learning rate belongs to.

    Args:
        found: the settings.
        preset: among their sources.

    Returns:
        None where the rate is meant as it is: it was given, or the training's length is in steps.
    """
    is_usual = found.origins["lr"] in ("default", f"preset {preset.name}")
    if not is_usual or found.value.pairs is None:
        return None
    batch = preset.values.get("batch_size", USUAL)
    return batch if isinstance(batch, int) else USUAL


def with_batch(config: TrainConfig, size: int, lr_batch: int | None) -> TrainConfig:
    """The settings with a number for a batch, and the steps and the rate that go with it.

    Args:
        config: with any batch.
        size: latents a step.
        lr_batch: the batch that its rate belongs to; None leaves the rate.
    """
    lr = config.lr if lr_batch is None else config.lr * (size / lr_batch) ** POWER
    changes = {"batch_size": size, "iterations": steps_of(config, size), "lr": lr}
    return config.model_copy(update=changes)


def largest_batch(config: TrainConfig) -> int:
    """The most latents a step that may be chosen for a user who names no batch.

    Returns:
        As many as leave ``LEAST_STEPS`` steps, at least 1 and at most ``LARGEST``; that many where
        the length is in steps, or an edit goes before, after which few steps do.
    """
    if config.pairs is None or config.warm_start:
        return LARGEST
    return max(1, min(LARGEST, config.pairs // LEAST_STEPS))


def few_steps_note(config: TrainConfig, origins: Mapping[str, str]) -> str | None:
    """What to say of a batch that a user names, where fewer steps remain than were seen to suffice.

    Args:
        config: of the run.
        origins: where each setting comes from.
    """
    size, origin = config.batch_size, origins["batch_size"]
    if not isinstance(size, int) or origin == "default" or origin.startswith("preset "):
        return None
    limit = largest_batch(config)
    if size <= limit or config.pairs is None:
        return None
    few, enough = (math.ceil(config.pairs / each) for each in (size, limit))
    return (
        f"{config.pairs} pairs in batches of {size} are {few} steps; on the embedded model "
        f"{LEAST_STEPS} steps erased all that was tried and 8 did not: --batch-size {limit} makes "
        f"{enough}"
    )
