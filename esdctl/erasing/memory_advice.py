"""What to change when a run's memory does not suffice, the mildest change first."""

from collections.abc import Iterator

from esdctl.erasing.config import TrainConfig
from esdctl.erasing.run_folder import RunFolder


def memory_advice(
    config: TrainConfig,
    run: RunFolder | None,
    dtype: str,
    more_devices: bool,
    can_offload: bool = False,
) -> list[str]:
    """What may help, the mildest first; a run that has begun is kept.

    Args:
        config: what the run does.
        run: where it is; None before it has begun.
        dtype: what it computes in: fp32, bf16 or fp16.
        more_devices: whether a second device is there and not in use.
        can_offload: whether frozen layers take the device's memory that could be elsewhere.
    """
    going_on = list(_without_another_result(config, more_devices, can_offload))
    other = list(_with_another_result(config, _batch_size(config, run), dtype, can_offload))
    if run is None:
        return [f"add {flag}" for flag in (*going_on, *other)]
    resume = f"esdctl train --resume {run.path}"
    advice = [f"go on with: {resume} {flag}" for flag in going_on]
    if other:
        advice.append(f"start another run with {', '.join(other)}")
    return advice or [f"free memory, then go on with: {resume}"]


def _without_another_result(
    config: TrainConfig, more_devices: bool, can_offload: bool
) -> Iterator[str]:
    if not config.gradient_checkpointing:
        yield "--gradient-checkpointing"
    if more_devices:
        yield "--devices 0,1"
    if can_offload:
        yield "--offload"


def _batch_size(config: TrainConfig, run: RunFolder | None) -> int:
    """Latents a step; 1 where an automatic batch was not found yet: its trial is of one."""
    if isinstance(config.batch_size, int):
        return config.batch_size
    return run.chosen_batch_size() or 1 if run else 1


def _with_another_result(
    config: TrainConfig, batch_size: int, dtype: str, can_offload: bool
) -> Iterator[str]:
    if not isinstance(config.batch_size, int) and batch_size > 1:
        yield f"--batch-size {batch_size // 2} (auto chose {batch_size})"
    elif batch_size > 1:
        yield f"--batch-size 1 (now {batch_size})"
    if dtype == "fp32":
        yield "--dtype bf16 (now fp32)"
    if config.optimizer == "adam":
        yield "--optimizer adam8bit"
    if can_offload and config.quantize_frozen is None:
        yield "--quantize-frozen int8"
    size = "the model's own" if config.image_size is None else str(config.image_size)
    yield f"a smaller --image-size (now {size})"
