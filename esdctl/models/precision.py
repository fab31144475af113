"""What the U-Net computes in: fp32, or 16 bits by autocast where memory and speed are short."""

from contextlib import AbstractContextManager, nullcontext

import torch

from esdctl.errors import UsageError
from esdctl.models.devices import find_device

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


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Layers that gain from 16 bits compute in ``dtype``, the others in fp32.

    A rounded weight lasts for its layer alone: a network asks for each of them once a pass.
    """
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype, cache_enabled=False)
