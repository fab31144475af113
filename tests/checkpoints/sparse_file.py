"""A Stable Diffusion of full size whose values are all zero, in a file that takes no disk."""

import json
from pathlib import Path

import torch

from esdctl.checkpoints.layouts.key_map import places
from esdctl.checkpoints.layouts.ldm_yaml import ldm_yaml
from esdctl.checkpoints.layouts.skeleton import skeleton
from esdctl.checkpoints.tensor_info import NAMES, Shape, TensorInfo
from tests.checkpoints.full_size import Family, full_size


def write_sparse(path: Path, family: Family, dtype: torch.dtype = torch.float16) -> None:
    """Write a CompVis checkpoint, safetensors, with its LDM config beside it.

    Args:
        path: of the file; the system gives its unwritten part as zeros.
        family, dtype: of the model.
    """
    architecture = full_size(family)
    infos: dict[str, TensorInfo] = {}
    for part, shapes in skeleton(architecture).items():
        for name, place in places(architecture.family, part, shapes).items():
            shape = _shape_there(shapes[name], place.transform, name)
            infos[place.name] = TensorInfo(NAMES[dtype], shape)
    header: dict[str, object] = {}
    end = 0
    for name, info in infos.items():
        header[name] = {
            "dtype": info.dtype, "shape": list(info.shape),
            "data_offsets": [end, end + info.bytes],
        }  # fmt: skip
        end += info.bytes
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with path.open("r+b") as file:
        file.truncate(8 + len(text) + end)
    config = ldm_yaml(architecture)
    if config is not None:  # an SDXL is known by its tensors
        path.with_suffix(".yaml").write_text(config, encoding="utf-8")


def _shape_there(shape: Shape, transform: str, name: str) -> Shape:
    """A tensor's shape in CompVis' layout."""
    if transform in ("q", "k", "v"):  # one tensor for the three
        return (3 * shape[0], *shape[1:])
    if transform == "transposed":
        return shape[::-1]
    return (*shape, 1, 1) if transform == "conv" and name.endswith(".weight") else shape
