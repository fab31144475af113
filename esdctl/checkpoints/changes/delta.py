"""A delta: the tensors that an erasure changed, and nothing else.

The format, on one page. A delta is one safetensors file.

- It MUST hold only tensors whose names are parameters of the base's denoiser (its U-Net or
  transformer), under diffusers' names,
  in the base's shapes. They are the new values, not differences, so that loading is exact.
- Its metadata (safetensors' ``__metadata__``) MUST hold one key, ``esdctl``: a JSON object whose
  values are strings. One key, because safetensors writes several in a random order, and equal
  erasures must give equal files.
- The object MUST hold ``format`` = ``esdctl-delta-1``, ``base`` (the base model's name as a user
  would type it) and ``base_digest`` (sha256 over the base's files, see ``Pipeline.digest``).
- It SHOULD hold ``concept``, ``train_method``, ``version`` (of esdctl) and ``settings`` (JSON).
- Readers MUST refuse an unknown ``format`` and MUST NOT ignore a tensor that the base lacks.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from esdctl.errors import InputError
from esdctl.storage.atomic import write_with

FORMAT = "esdctl-delta-1"
METADATA_KEY = "esdctl"


def write_delta(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a delta atomically.

    Args:
        path: the file.
        tensors: diffusers names -> new values, any shape.
        metadata: strings; ``format`` is added.

    Raises:
        StorageError: the disk is full or not writable.
    """
    content = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    about = json.dumps({"format": FORMAT, **metadata}, sort_keys=True)
    write_with(path, lambda temporary: save_file(content, temporary, {METADATA_KEY: about}))


def read_delta_metadata(path: Path) -> dict[str, str]:
    """The metadata alone, without reading a tensor.

    Raises:
        InputError: the file is missing, truncated, or no delta.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
    except FileNotFoundError:
        raise InputError(
            f"no such file: {path}", "give the path of a run folder or a delta"
        ) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path} is damaged or no safetensors file ({error})",
            "train again, or resume the run that wrote it",
        ) from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise InputError(f"{path} is no esdctl delta", "give the path of a run folder or a delta")
    return {str(key): str(value) for key, value in about.items()}


def read_delta(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a delta, on the CPU.

    Raises:
        InputError: the file is missing, truncated, or no delta.
    """
    read_delta_metadata(path)
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
