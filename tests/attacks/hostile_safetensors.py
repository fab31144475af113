"""Attacks by a safetensors file: headers that lie, values and names of no model."""

import json
import struct
from collections.abc import Mapping

from tests.attacks.checkpoint_attack import CheckpointAttack

_DATA = struct.pack("<4f", 1, 2, 3, 4)
_WEIGHT = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


def file_of(header: str | bytes, data: bytes = _DATA, length: int | None = None) -> bytes:
    raw = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def _weight(
    title: str, message: str, data: bytes = _DATA, key: str = "weight", **fields: object
) -> CheckpointAttack:
    header = json.dumps({key: {**_WEIGHT, **fields}})
    return CheckpointAttack(title, message, file_of(header, data))


def _header(title: str, message: str, header: Mapping[str, object] | str) -> CheckpointAttack:
    text = header if isinstance(header, str) else json.dumps(header)
    return CheckpointAttack(title, message, file_of(text))


_TEXT = json.dumps({"weight": _WEIGHT})
_HALVES = {"a": {**_WEIGHT, "shape": [2], "data_offsets": [0, 8]}}

SAFETENSORS = (
    _header("tensor twice", "lists 'weight' twice", f"{_TEXT[:-1]}, {_TEXT[1:]}"),
    _header("metadata twice", "lists '__metadata__' twice",
            '{"__metadata__": {}, "__metadata__": {}, ' + _TEXT[1:]),
    _header("shape twice", "lists 'shape' twice",
            _TEXT.replace('"shape"', '"shape": [4], "shape"')),
    _weight("NaN in safetensors", "holds NaN", struct.pack("<4f", 1, 2, 3, float("nan"))),
    _weight("infinity in safetensors", "holds an infinity",
            struct.pack("<4f", 1, 2, 3, float("inf"))),
    _weight("NaN in float8", "holds NaN", b"\x7f" * 4, dtype="F8_E4M3", data_offsets=[0, 4]),
    _weight("infinity in a complex number", "holds an infinity",
            struct.pack("<4f", 1, 2, 3, float("inf")), dtype="C64", shape=[2]),
    _weight("name as a path in safetensors", "looks like a path", key="../../weights"),
    _weight("absolute name in safetensors", "looks like a path", key="/etc/passwd"),
    _weight("name with an escape", "holds a control character", key="a\x1b[2Jb"),
    _weight("name with a NUL", "holds a control character", key="weight\0"),
    _weight("empty name in safetensors", "a tensor has no name", key=""),
    _weight("long name in safetensors", "has 600 characters", key="w" * 600),
    _weight("absurd size in safetensors", "has an absurd shape: a size above", shape=[2**60, 0]),
    _weight("sizes beyond 64 bits", "has an absurd shape", shape=[2**64, 2**64]),
    _weight("negative size in safetensors", "has a negative size", shape=[-2, -2]),
    _weight("a hundred dimensions", "has an absurd shape of 100 dimensions", shape=[1] * 100),
    _weight("product beyond the file", "its shape and type need", shape=[2**31 - 1, 2**31 - 1]),
    _weight("size as a text in safetensors", "no whole numbers", shape=["2", 2]),
    _weight("size as a fraction", "no whole numbers", shape=[2.0, 2]),
    _weight("size as a truth value", "no whole numbers", shape=[True, 4]),
    _weight("unknown type", "is of the unknown type 'PYOBJECT'", dtype="PYOBJECT"),
    _weight("type that is no text", "is of the unknown type 'list'", dtype=["F32"]),
    _weight("bytes that do not fit", "has 12 bytes, its shape and type need 16",
            data_offsets=[0, 12]),
    _weight("offsets outside", "its shape and type need 16", data_offsets=[0, 2**40]),
    _weight("negative offsets", "its shape and type need 16", data_offsets=[-16, 0]),
    _weight("offsets backwards", "its shape and type need 16", data_offsets=[16, 0]),
    _weight("three offsets", "no whole numbers", data_offsets=[0, 16, 16]),
    _weight("hole before the data", "leaves a hole", data_offsets=[8, 24]),
    _weight("bytes behind the data", "it holds 32 bytes of data, its header says 16", _DATA * 2),
    _weight("safetensors cut off", "it holds 7 bytes of data, its header says 16", _DATA[:7]),
    _weight("more fields than a tensor has", "is not described as a tensor", code="import os"),
    _header("two tensors on the same bytes", "overlaps the one before",
            {**_HALVES, "b": _WEIGHT}),
    _header("tensor that is a number", "is not described as a tensor", {"weight": 7}),
    _header("metadata of numbers", "its metadata is not a table of texts",
            {"__metadata__": {"step": 1}, "weight": _WEIGHT}),
    _header("header that is no JSON", "its header is not JSON", "{weight: 1}"),
    _header("header of nested lists", "its header is not JSON", '{"a":' + "[" * 100_000),
    CheckpointAttack("header that is not UTF-8", "its header is not JSON", file_of(b'{"\xff": 1}')),
    CheckpointAttack("header longer than the file", "its header claims 1048576 bytes",
                     file_of(_TEXT, length=2**20)),
    CheckpointAttack("header of 2^63 bytes", "its header claims 9223372036854775808 bytes",
                     file_of(_TEXT, length=2**63)),
    CheckpointAttack("header cut off", "its header claims", file_of(_TEXT)[:30]),
)  # fmt: skip
