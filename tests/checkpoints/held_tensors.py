"""A checkpoint in memory that knows which of its tensors were read."""

from collections.abc import Mapping
from pathlib import Path

import torch

from esdctl.checkpoints.tensor_info import NAMES, TensorInfo


class HeldTensors:
    """Named tensors behind the interface of a file."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], path: Path = Path("held.ckpt")) -> None:
        self.tensors = dict(tensors)
        self.path = path
        self.metadata: Mapping[str, str] = {}
        self.infos: Mapping[str, TensorInfo] = {
            name: TensorInfo(NAMES[tensor.dtype], tuple(tensor.shape))
            for name, tensor in tensors.items()
        }
        self.was_read: list[str] = []

    def read(self, name: str) -> torch.Tensor:
        self.was_read.append(name)
        return self.tensors[name]

    def read_unused(self, name: str) -> torch.Tensor:
        return self.read(name)
