"""``--quantize-frozen`` and ``--offload``: what the settings say of layers that nothing trains."""

import torch

from esdctl.checkpoints.layouts.skeleton import empty_part
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.train_methods import select
from esdctl.errors import UsageError
from esdctl.models.frozen_layers import FrozenStorage, frozen_layers
from esdctl.models.quantization import check_quantization
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import StableDiffusion, load

WHERE_QUANTIZED = ("cpu", "cuda")  # where bitsandbytes has been seen or tells that it works
WHERE_OFFLOADED = ("cuda",)


def load_to_train(
    pipeline: Pipeline, config: TrainConfig, device: torch.device, dtype: torch.dtype
) -> StableDiffusion:
    """A model whose denoiser will be trained, as ``models.stable_diffusion.load`` gives it.

    Args:
        pipeline: its files.
        config: says what is trained, and how the rest is stored.
        device, dtype: where, and in what the denoiser computes.

    Raises:
        UsageError: quantisation does not work there, or its library is not installed.
    """
    return load(pipeline, device, dtype, storage_of(pipeline, config, device))


def storage_of(
    pipeline: Pipeline, config: TrainConfig, device: torch.device
) -> FrozenStorage | None:
    """How the denoiser's frozen layers are stored; None as all others are.

    Raises:
        UsageError: as for ``load_to_train``.
    """
    if config.method == "edit":  # nothing is trained
        return None
    kind, is_offloaded = config.quantize_frozen, config.offload and device.type in WHERE_OFFLOADED
    if kind is None and not is_offloaded:
        return None
    check_quantization(kind)
    if kind is not None and device.type not in WHERE_QUANTIZED:
        raise UsageError(
            f"--quantize-frozen {kind} does not work on {device.type}",
            f"use --devices {' or '.join(WHERE_QUANTIZED)}, or leave it out",
        )
    return FrozenStorage(frozenset(_trained(pipeline, config)), kind, is_offloaded)


def check_frozen(config: TrainConfig, pipeline: Pipeline) -> None:
    """Refuse to store otherwise what is not there: a train method may leave no layer frozen.

    Raises:
        UsageError: the method moves every linear layer of the blocks.
    """
    is_asked = config.quantize_frozen is not None or config.offload
    if config.method != "edit" and is_asked and not _has_frozen_layers(pipeline, config):
        option = "quantize_frozen" if config.quantize_frozen else "offload"
        raise UsageError(
            f"{option} has nothing to work on: {config.train_method} trains every linear layer of "
            "the model's blocks, so that none is frozen",
            f"leave {option} out, or use a --train-method that moves less",
        )


def notes_on_storage(config: TrainConfig, device: torch.device) -> list[str]:
    """What the user should know of the settings on a device."""
    if config.offload and config.method != "edit" and device.type not in WHERE_OFFLOADED:
        return [f"offload changes nothing on {device.type}: it frees the memory of CUDA devices"]
    return []


def can_offload(pipeline: Pipeline, config: TrainConfig, device: torch.device) -> bool:
    """Whether ``--offload``, which is not on yet, would free memory of a device."""
    is_there = device.type in WHERE_OFFLOADED and not config.offload
    return is_there and _has_frozen_layers(pipeline, config)


def _has_frozen_layers(pipeline: Pipeline, config: TrainConfig) -> bool:
    files = pipeline.files
    network = empty_part(files.denoiser, files.architecture)
    return next(frozen_layers(network, _trained(pipeline, config)), None) is not None


def _trained(pipeline: Pipeline, config: TrainConfig) -> list[str]:
    family = pipeline.files.architecture.family
    return select(config.train_method, pipeline.files.denoiser_shapes(), family)
