"""A Stable Diffusion 1.x of full size with random weights, written a few megabytes at a time."""

from collections.abc import Iterator
from pathlib import Path

import torch

from esdctl.checkpoints.layouts.key_map import places
from esdctl.checkpoints.layouts.ldm_yaml import ldm_yaml
from esdctl.checkpoints.layouts.skeleton import skeleton
from esdctl.checkpoints.safetensors.writing import write_safetensors
from esdctl.checkpoints.tensor_info import NAMES, TensorInfo
from tests.checkpoints.full_size import full_size

_BLOCK = 2**20  # values


def write_full_size(path: Path, dtype: torch.dtype = torch.float32) -> int:
    """Write a CompVis checkpoint, safetensors, with its LDM config beside it.

    Returns:
        The number of parameters.
    """
    architecture = full_size("sd1")
    infos: dict[str, TensorInfo] = {}
    for part, shapes in skeleton(architecture).items():
        for name, place in places(architecture.family, part, shapes).items():
            more = (1, 1) if place.transform == "conv" and name.endswith(".weight") else ()
            infos[place.name] = TensorInfo(NAMES[dtype], (*shapes[name], *more))
    write_safetensors(path, infos, _noise(infos, dtype), {})
    path.with_suffix(".yaml").write_text(ldm_yaml(architecture), encoding="utf-8")
    return sum(info.bytes for info in infos.values()) // dtype.itemsize


def _noise(infos: dict[str, TensorInfo], dtype: torch.dtype) -> Iterator[bytes]:
    values = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(0)) * 0.02
    block = values.to(dtype).view(torch.uint8).numpy().tobytes()
    ones = torch.ones(_BLOCK, dtype=dtype).view(torch.uint8).numpy().tobytes()
    for name, info in infos.items():
        is_norm = len(info.shape) == 1 and name.endswith(".weight")  # small ones stifle gradients
        left = info.bytes
        while left:
            piece = (ones if is_norm else block)[:left]
            yield piece
            left -= len(piece)
