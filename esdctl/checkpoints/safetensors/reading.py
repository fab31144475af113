"""A safetensors file, read without trust: the header is checked here, tensors are mapped.

Why here: safetensors itself refuses holes, overlaps, wrong sizes and trailing bytes, but it accepts
duplicate keys (the last one wins), names that look like paths, shapes of no model, and NaN.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import RawIOBase
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from esdctl.checkpoints.refusal import hostile
from esdctl.checkpoints.tensor_info import (
    DTYPES,
    MAX_TENSORS,
    TensorInfo,
    check_name,
    check_shape,
    refuse_not_finite,
)
from esdctl.errors import InputError, IntegrityError
from esdctl.untrusted_text import shown

MAX_HEADER = 100_000_000  # bytes; the format's own limit
METADATA = "__metadata__"
READ_AT_ONCE = 16 * 2**20  # bytes


@dataclass(frozen=True)
class SafetensorsFile:
    """A checked safetensors file.

    Args:
        path: for messages; what the user named.
        infos: every tensor, in the order of its data.
        metadata: strings.
        data: the file itself, where it is another one than ``path``.
        is_mapped: whether tensors are mapped; else each is read into memory of its own, so that no
            more of the file stays there than tensors that are in use.
    """

    path: Path
    infos: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    data: Path
    is_mapped: bool = True

    def read(self, name: str) -> torch.Tensor:
        """One tensor on the CPU, in its stored type.

        Args:
            name: one of ``infos``.

        Raises:
            InputError: the file holds no such tensor, or ends before it does.
            IntegrityError: a value is NaN or infinite.
        """
        tensor = self.read_unused(name)
        refuse_not_finite(tensor, name, self.path)
        return tensor

    def read_unused(self, name: str) -> torch.Tensor:
        """One tensor that is only handed on, so that its values do not matter.

        Raises:
            InputError: the file holds no such tensor.
        """
        if name not in self.infos:
            raise InputError(f"{self.path} holds no tensor {shown(name)}")
        tensor: torch.Tensor = self._opened.get_tensor(name) if self.is_mapped else self._copy(name)
        return tensor

    def _copy(self, name: str) -> torch.Tensor:
        info = self.infos[name]
        if info.bytes == 0:
            return torch.empty(info.shape, dtype=DTYPES[info.dtype])
        data = bytearray(info.bytes)
        with self.data.open("rb", buffering=0) as file:
            file.seek(self._starts[name])
            if _filled(file, memoryview(data)) < info.bytes:
                raise InputError(f"{self.path} ends before {shown(name)} does", "get it again")
        return torch.frombuffer(data, dtype=DTYPES[info.dtype]).reshape(info.shape)

    @cached_property
    def _starts(self) -> dict[str, int]:
        """Where each tensor's data begins in the file; they lie there in the order of ``infos``."""
        starts, place = {}, self.data.stat().st_size - sum(i.bytes for i in self.infos.values())
        for name, info in self.infos.items():
            starts[name] = place
            place += info.bytes
        return starts

    @cached_property
    def _opened(self) -> Any:
        try:
            return safe_open(self.data, framework="pt")
        except (SafetensorError, OSError) as error:
            raise hostile(self.path, f"safetensors refuses it ({error})") from error


def open_safetensors(path: Path, shown_as: Path | None = None) -> SafetensorsFile:
    """Read and check the header; no tensor.

    Args:
        path: the file.
        shown_as: the name for messages, where the file stands for another one.

    Raises:
        InputError: there is no such file.
        IntegrityError: the header lies, or is of no model.
    """
    named = shown_as or path
    header, data_size = _read_header(path, named)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise hostile(named, "its metadata is not a table of texts")
    if len(header) > MAX_TENSORS:
        raise hostile(named, f"it lists {len(header)} tensors, more than {MAX_TENSORS}")
    places = {name: _checked_entry(name, entry, named) for name, entry in header.items()}
    infos: dict[str, TensorInfo] = {}
    end = 0
    for name, (info, first, last) in sorted(places.items(), key=lambda item: item[1][1:]):
        if first != end:
            word = "overlaps the one before" if first < end else "leaves a hole before it"
            raise hostile(named, f"the data of {shown(name)} {word}")
        infos[name] = info
        end = last
    if end != data_size:
        fault = f"it holds {data_size} bytes of data, its header says {end}"
        raise IntegrityError(f"{named} is damaged: {fault}", "get the file again")
    return SafetensorsFile(named, infos, metadata, path)


def _filled(file: RawIOBase, room: memoryview) -> int:
    """How many bytes of ``room`` the file filled."""
    done = 0
    while done < len(room):
        count = file.readinto(room[done : done + READ_AT_ONCE])
        if not count:
            break
        done += count
    return done


def _read_header(path: Path, named: Path) -> tuple[dict[str, Any], int]:
    """The header, and the bytes behind it."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise hostile(named, f"its header claims {length} bytes, the file has {size}")
            if length > MAX_HEADER:
                raise hostile(named, f"its header claims {length} bytes, more than {MAX_HEADER}")
            text = file.read(length)
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"no such file: {named}", "give the path of a checkpoint") from None
    try:
        header = json.loads(text.decode(), object_pairs_hook=_without_duplicates)
    except _DuplicateKeyError as error:
        raise hostile(named, f"its header lists {shown(error.args[0])} twice") from None
    except (ValueError, RecursionError):
        raise hostile(named, "its header is not JSON") from None
    if not isinstance(header, dict):
        raise hostile(named, "its header is not a table")
    return header, size - 8 - length


class _DuplicateKeyError(Exception):
    """Not a ValueError, which json would be blamed for."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise _DuplicateKeyError(counts.most_common(1)[0][0])
    return table


def _checked_entry(name: str, entry: Any, path: Path) -> tuple[TensorInfo, int, int]:
    """A tensor, and where its data begins and ends behind the header."""
    check_name(name, path)
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise hostile(path, f"{shown(name)} is not described as a tensor")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise hostile(path, f"{shown(name)} is of the unknown type {shown(dtype)}")
    if not _are_integers(shape) or not _are_integers(offsets) or len(offsets) != 2:
        raise hostile(path, f"{shown(name)} has a shape or offsets that are no whole numbers")
    check_shape(name, tuple(shape), path)
    info = TensorInfo(dtype, tuple(shape))
    first, last = offsets
    if first < 0 or last - first != info.bytes:
        fault = f"has {last - first} bytes, its shape and type need {info.bytes}"
        raise hostile(path, f"{shown(name)} {fault}")
    return info, first, last


def _are_integers(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)
