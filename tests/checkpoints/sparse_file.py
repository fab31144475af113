"""A Stable Diffusion of full size whose values are all zero, in a file that takes no disk."""

import json
from pathlib import Path

import torch

from esdctl.checkpoints.layouts.key_map import places
from esdctl.checkpoints.layouts.ldm_yaml import ldm_yaml
from esdctl.checkpoints.layouts.skeleton import skeleton
from esdctl.checkpoints.tensor_info import NAMES, TensorInfo
from tests.checkpoints.full_size import Family, full_size


def write_sparse(path: Path, family: Family, dtype: torch.dtype = torch.float16) -> None:
    """Write a CompVis checkpoint, safetensors, with its LDM config beside it.

    Args:
        path: of the file; the system gives its unwritten part as zeros.
        family, dtype: of the model.
    """
    architecture = full_size(family)
    header: dict[str, object] = {}
    end = 0
    for part, shapes in skeleton(architecture).items():
        for name, place in places(architecture.family, part, shapes).items():
            more = (1, 1) if place.transform == "conv" and name.endswith(".weight") else ()
            info = TensorInfo(NAMES[dtype], (*shapes[name], *more))
            offsets = [end, end + info.bytes]
            header[place.name] = {
                "dtype": info.dtype, "shape": list(info.shape), "data_offsets": offsets,
            }  # fmt: skip
            end += info.bytes
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with path.open("r+b") as file:
        file.truncate(8 + len(text) + end)
    config = ldm_yaml(architecture)
    if config is not None:  # an SDXL is known by its tensors
        path.with_suffix(".yaml").write_text(config, encoding="utf-8")
