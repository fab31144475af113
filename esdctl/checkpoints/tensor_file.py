"""A file of named tensors, whatever its form: told by its content, opened without trust."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch

from esdctl.checkpoints.file_form import Form, form_of
from esdctl.checkpoints.pickles.conversion import convert_once
from esdctl.checkpoints.pickles.unpickle import read_pickled
from esdctl.checkpoints.safetensors.reading import open_safetensors
from esdctl.checkpoints.tensor_info import TensorInfo, refuse_not_finite
from esdctl.progress import Reporter, Silent

__all__ = ["PeekedFile", "TensorFile", "TensorInfo", "open_tensors", "peek_tensors",
           "refuse_not_finite"]  # fmt: skip


class TensorFile(Protocol):
    """Named tensors in a file; none is read until it is asked for.

    ``metadata`` of a pickled checkpoint has ``form``, ``global_step`` where the checkpoint has one,
    ``esdctl`` where it carries such a text, and ``dropped``: what else lay beside the weights.
    """

    @property
    def path(self) -> Path: ...

    @property
    def infos(self) -> Mapping[str, TensorInfo]: ...

    @property
    def metadata(self) -> Mapping[str, str]: ...

    def read(self, name: str) -> torch.Tensor:
        """One tensor on the CPU, in its stored type; NaN is refused."""
        ...

    def read_unused(self, name: str) -> torch.Tensor:
        """The same for a tensor that no picture depends on: NaN does not matter in it."""
        ...


@dataclass(frozen=True, eq=False)
class RenamedFile:
    """A file whose tensors go by other names.

    Args:
        file: the file.
        stored: the new names -> those in the file.
    """

    file: TensorFile
    stored: Mapping[str, str]

    @property
    def path(self) -> Path:
        return self.file.path

    @cached_property
    def infos(self) -> Mapping[str, TensorInfo]:
        return {name: self.file.infos[stored] for name, stored in self.stored.items()}

    @property
    def metadata(self) -> Mapping[str, str]:
        return self.file.metadata

    def read(self, name: str) -> torch.Tensor:
        return self.file.read(self.stored[name])

    def read_unused(self, name: str) -> torch.Tensor:
        return self.file.read_unused(self.stored[name])


@dataclass(frozen=True)
class PeekedFile:
    """What a file says of its tensors; none can be read from it."""

    path: Path
    infos: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]


def open_tensors(
    path: Path,
    reporter: Reporter = Silent(),  # noqa: B008
    is_mapped: bool = True,
) -> TensorFile:
    """Open a checkpoint: safetensors, or a pickle in torch's ZIP or older form.

    A pickle is converted once to safetensors, cached beside it (see ``conversion``). Nothing that
    a pickle names is imported or called.

    Args:
        path: the file; its name says nothing.
        reporter: told when a conversion begins and how far it is.
        is_mapped: False reads each tensor into memory of its own.

    Returns:
        Its tensors.

    Raises:
        InputError: the file is missing, or something else than a checkpoint.
        IntegrityError: the file lies, is damaged, or would run code.
        StorageError: the conversion finds no room.
    """
    form = form_of(path)
    if form is Form.SAFETENSORS:
        return replace(open_safetensors(path), is_mapped=is_mapped)
    pickled = read_pickled(path, form)
    return replace(convert_once(pickled, reporter), is_mapped=is_mapped)


def peek_tensors(path: Path) -> PeekedFile:
    """What a checkpoint holds, without reading a tensor's data and without writing anything.

    Raises:
        InputError: the file is missing, or something else than a checkpoint.
        IntegrityError: the file lies, is damaged, or would run code.
    """
    form = form_of(path)
    if form is Form.SAFETENSORS:
        opened = open_safetensors(path)
        return PeekedFile(path, opened.infos, opened.metadata)
    pickled = read_pickled(path, form)
    return PeekedFile(path, pickled.infos, pickled.metadata)
