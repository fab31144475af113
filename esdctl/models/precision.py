"""What a denoiser computes in: fp32, or 16 bits where memory and speed are short."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import torch
from torch.func import functional_call

from esdctl.diffusion.conditioning import Conditioning
from esdctl.errors import UsageError
from esdctl.models.devices import find_device
from esdctl.models.families.family import Denoiser

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def find_dtype(name: str | None, device: torch.device) -> torch.dtype:
    """The type that is named; else bf16 on CUDA (fp16 where the card has no bf16), fp32 elsewhere.

    Args:
        name: a key of ``DTYPES``, or None.
        device: where the U-Net is.
    """
    if name is not None:
        return DTYPES[name]
    if device.type != "cuda":
        return torch.float32
    with torch.cuda.device(device):
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bf16 else torch.float16


def dtype_for(name: str | None, device: str | None) -> str:
    """A key of ``DTYPES``: the one that is named, else what suits a device.

    Args:
        name: as the user typed it, or None.
        device: as in ``find_device``.

    Raises:
        UsageError: there is no such type, or no machine has such a device.
        DeviceError: this machine has no such device.
    """
    if name is not None and name not in DTYPES:
        raise UsageError(f"--dtype is {name!r}", f"use one of {', '.join(DTYPES)}")
    return name or name_of(find_dtype(None, find_device(device)))


def name_of(dtype: torch.dtype) -> str:
    """The key of ``DTYPES``."""
    return next(name for name, known in DTYPES.items() if known == dtype)


def is_whole(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether networks hold all weights in ``dtype`` and compute in nothing else.

    That is bf16 on CUDA. Its kernels sum in fp32, and two in five of autocast's kernels are casts.
    """
    return device.type == "cuda" and dtype == torch.bfloat16


def predicted(
    network: torch.nn.Module,
    kind: Denoiser,
    latents: torch.Tensor,
    timesteps: torch.Tensor,
    conditioning: Conditioning,
    dtype: torch.dtype,
    values: Mapping[str, torch.Tensor] | None = None,
) -> torch.Tensor:
    """A denoiser's prediction, (B, C, h, w), fp32.

    Args:
        network: on the device of the rest.
        kind: how it is asked.
        latents: x_t, (B, C, h, w).
        timesteps: (B,), as ``Schedule`` has them.
        conditioning: B rows.
        dtype: what to compute in.
        values: of some parameters, in place of the network's own; a denoiser ties none.
    """
    if is_whole(latents.device, dtype):  # sizes and timesteps stay: bf16 has no 999
        latents = latents.to(dtype)
        conditioning = replace(conditioning, embeddings=conditioning.embeddings.to(dtype))
    arguments, named = kind.ask(latents, timesteps, conditioning)
    prediction: torch.Tensor
    with _autocast(latents.device, dtype):
        if values is None:
            prediction = network(*arguments, **named)[0]
        else:
            prediction = functional_call(
                network, dict(values), arguments, named, tie_weights=False
            )[0]
    return kind.answer(prediction, latents).float()


def _autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Layers that gain from 16 bits compute in ``dtype``, the others in fp32.

    A rounded weight lasts for its layer alone: a network asks for each of them once a pass.
    """
    if dtype == torch.float32 or is_whole(device, dtype):
        return nullcontext()
    return torch.autocast(device.type, dtype, cache_enabled=False)
