"""What a batch changes beside its size: the number of steps, and the learning rate.

A rate belongs to the batch that it was chosen with, b. At B latents a step, of equal pairs, it is
lr (B / b)^p; the power was chosen by measurement: tests/measurements/batches.py. Loads no torch.
"""

from esdctl.erasing.config import TrainConfig
from esdctl.erasing.preset import Preset
from esdctl.erasing.training_length import steps_of
from esdctl.settings.resolve import Resolved

POWER = 0.5  # with 1, an erasure on pocket took its neighbours with it
USUAL = 1  # latents a step, where neither preset nor user names a batch


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
