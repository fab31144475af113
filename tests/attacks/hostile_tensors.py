"""Attacks by storages and views: sizes that lie, views outside or over themselves, bombs."""

import struct

from esdctl.errors import InputError
from tests.attacks.checkpoint_attack import CheckpointAttack
from tests.attacks.checkpoint_builder import (
    FLOATS,
    call,
    legacy_file,
    name,
    number,
    pickled,
    row,
    state_dict,
    storage,
    table,
    tensor,
    text,
    zip_file,
)


def _weight(
    title: str, message: str, value: bytes, data: bytes = FLOATS, **options: type[InputError]
) -> CheckpointAttack:
    return CheckpointAttack(title, message, zip_file(state_dict(value), {"0": data}), **options)


def _named(title: str, message: str, key: str) -> CheckpointAttack:
    return CheckpointAttack(title, message, zip_file(pickled(table({key: tensor()}))))


def _rebuild(function: str, *arguments: bytes) -> bytes:
    return call(name("torch._utils", function), *arguments)


VIEWS = (
    _weight("negative stride", "has a negative stride", tensor(strides=(-2, 1))),
    _weight("negative size", "has a negative size in its shape", tensor(shape=(-2, 2))),
    _weight("negative offset", "begins before its storage", tensor(offset=-1)),
    _weight("offset outside", "reaches beyond the end of its storage", tensor(offset=1)),
    _weight("stride outside", "reaches beyond the end of its storage", tensor(strides=(4, 1))),
    _weight("shape outside", "reaches beyond the end of its storage", tensor(shape=(3, 2))),
    _weight("more sizes than strides", "has more sizes than strides", tensor(strides=(1,))),
    _weight("product beyond 64 bits", "reaches beyond the end of its storage",
            tensor(shape=(2**31 - 1,) * 3, strides=(2**62, 2**31, 1))),
    _weight("size beyond 64 bits", "no whole number of 64 bits", tensor(shape=(2**64, 1))),
    _weight("size of 2^40", "has an absurd shape: a size above",
            tensor(shape=(2**40, 1), strides=(0, 0))),
    _weight("nine dimensions", "has an absurd shape of 9 dimensions",
            tensor(shape=(1,) * 9, strides=(1,) * 9)),
    _weight("size that is a text", "no whole number of 64 bits",
            _rebuild("_rebuild_tensor", storage(), number(0), row(text("2")), row(number(1)))),
    _weight("shape that is a number", "no tuple of numbers",
            _rebuild("_rebuild_tensor", storage(), number(0), number(4), row(number(1)))),
    _weight("expanded bomb", "overlaps itself", tensor(shape=(2**30, 2**30), strides=(0, 0))),
    _weight("strides over themselves", "overlaps itself", tensor(shape=(2, 2), strides=(1, 1))),
    _weight("tensor on a text", "stands on something else than a storage", tensor(text("0"))),
    _weight("too few arguments", "with other arguments", _rebuild("_rebuild_tensor_v2", storage())),
    CheckpointAttack(
        "ten thousand names on one storage", "which is a bomb",
        zip_file(pickled(table({f"w{i}": tensor(storage("0", 2**16), 0, (2**16,), (1,))
                                for i in range(10_000)})), {"0": bytes(2**18)}),
    ),
)  # fmt: skip

STORAGES = (
    _weight("storage larger than its record", "claims 4000 bytes, its record has 16",
            tensor(storage(count=1000))),
    _weight("storage smaller than its record", "claims 8 bytes, its record has 16",
            tensor(storage(count=2), shape=(2,), strides=(1,))),
    _weight("negative storage", "claims -4 elements", tensor(storage(count=-4))),
    _weight("storage of 2^62 elements", "its record has 16", tensor(storage(count=2**62))),
    _weight("storage without a record", "its storage '7' has no record", tensor(storage("7"))),
    _weight("storage's key as a path", "its storage '../../data.pkl' has no record",
            tensor(storage("../../data.pkl"))),
    _weight("storage's key as a number", "a storage's key is no text",
            row(text("storage"), name("torch", "FloatStorage"), number(0), text("cpu"), number(4))
            + b"Q"),
    _weight("storage of no class", "something else than a storage class of torch",
            tensor(storage(kind="FloatStorage", module="pl.storage"))),
    _weight("storage as text and number", "is described in two ways",
            tensor(storage()) + b"0" + tensor(storage(kind="IntStorage"))),
    _weight("NaN", "holds NaN", tensor(), struct.pack("<4f", 1, float("nan"), 3, 4)),
    _weight("infinity", "holds an infinity", tensor(), struct.pack("<4f", 1, float("inf"), 3, 4)),
    _weight("negative infinity in half", "holds an infinity", tensor(storage(kind="HalfStorage")),
            struct.pack("<4e", 1, 2, 3, float("-inf"))),
    _weight("NaN in bfloat16", "holds NaN", tensor(storage(kind="BFloat16Storage")),
            b"\xc0\x7f" * 4),
    _weight("truth value 7", "a truth value is neither 0 nor 1",
            tensor(storage(kind="BoolStorage")), b"\0\1\7\1"),
    _weight("quantised storage", "QInt8Storage, which is not read",
            tensor(storage(kind="QInt8Storage")), b"1234", error=InputError),
    _weight("sparse weight", "is a tensor of a kind that is not read",
            _rebuild("_rebuild_sparse_tensor", number(0), row()), error=InputError),
    _weight("negated weight", "conjugated or negated",
            _rebuild("_rebuild_tensor_v2", storage(), number(0), row(number(4)), row(number(1)),
                     b"\x89", b"N", table({"neg": b"\x88"})), error=InputError),
    _named("name as a path", "looks like a path", "../../etc/passwd"),
    _named("name as a path of Windows", "looks like a path", "..\\weights"),
    _named("name that colours the terminal", "holds a control character", "\x1b[31mweight"),
    _named("name of a megabyte", "has 1048576 characters", "w" * 2**20),
    _named("no name", "a tensor has no name", ""),
)  # fmt: skip

_GOOD = state_dict(tensor())
_PART = row(text("part"), number(2), number(99))
LEGACY = (
    CheckpointAttack("legacy storage with another count", "claims 4 elements, the file has 9",
                     legacy_file(_GOOD, counts=(9,))),
    CheckpointAttack("legacy storage with a negative count", "the file has -4",
                     legacy_file(_GOOD, counts=(-4,))),
    CheckpointAttack("legacy storage cut off", "ends behind the file, which is cut off",
                     legacy_file(_GOOD)[:-1]),
    CheckpointAttack("legacy storage never listed", "its storage '0' is not in the file",
                     legacy_file(_GOOD, keys=())),
    CheckpointAttack("legacy storage listed twice", "names '0' twice",
                     legacy_file(_GOOD, keys=("0", "0"), counts=(4, 4))),
    CheckpointAttack("legacy storage of no tensor", "names one that no tensor has",
                     legacy_file(_GOOD, keys=("1",))),
    CheckpointAttack("legacy list of storages that is none", "its list of storages is no list",
                     legacy_file(_GOOD, keys=7)),
    CheckpointAttack("legacy part beyond its storage", "a part of a storage reaches beyond",
                     legacy_file(state_dict(tensor(storage("0", 4, "FloatStorage", "torch", _PART),
                                                   shape=(1,), strides=(1,))))),
    CheckpointAttack("legacy form of version 1002", "a version of torch's form",
                     legacy_file(_GOOD, version=1002)),
    CheckpointAttack("legacy form, big-endian", "written by a big-endian machine",
                     legacy_file(_GOOD, facts={"little_endian": False}), InputError),
)  # fmt: skip

TENSORS = (*VIEWS, *STORAGES, *LEGACY)
