"""torch's oldest form (0.1.9 and earlier): a tar of ``storages``, ``tensors`` and ``pickle``.

``storages`` is a count, then for each storage a pickle (key, location, class), the number of
elements and the elements; then the parts of storages. ``tensors`` is a count, then for each tensor
a pickle (key, storage, class), dimensions, sizes, strides and offset. ``pickle`` is the object, in
which a tensor or a storage is a persistent id: its key as a number.
"""

import struct
from io import BytesIO
from pathlib import Path
from tarfile import TarInfo
from typing import BinaryIO

from esdctl.checkpoints.pickles.machine import run_pickle
from esdctl.checkpoints.pickles.names import GlobalName
from esdctl.checkpoints.pickles.storages import MAX_PICKLE, Storage, storage_dtype, whole
from esdctl.checkpoints.pickles.stored_tensor import StoredTensor, TorchCalls
from esdctl.checkpoints.pickles.torch_legacy import place_storage
from esdctl.checkpoints.pickles.values import Inert, Items, PickleFault, Row, Table
from esdctl.checkpoints.refusal import shown
from esdctl.checkpoints.tensor_info import DTYPES, MAX_DIMENSIONS, MAX_TENSORS

_BLOCK = 512  # bytes; a tar is made of these
_MEMBERS = {"storages", "tensors", "pickle", "sys_info"}
_SMALL_PICKLE = 64 * 1024  # bytes; one storage's or tensor's description has about 100


def read_tar(path: Path) -> object:
    """The value of the pickled object, its tensors found in the file.

    Raises:
        PickleFault: what is wrong with the file, or that it is no checkpoint.
    """
    with path.open("rb") as file:
        members = _read_members(file)
        if not {"storages", "tensors", "pickle"} <= set(members):
            raise PickleFault("it is a tar, but no checkpoint of torch", is_other_kind=True)
        _check_machine(file, members)
        storages = _read_storages(_Reader(file, *members["storages"]))
        tensors = _read_tensors(_Reader(file, *members["tensors"]), storages)
        start, size = members["pickle"]
        if size > MAX_PICKLE:
            raise PickleFault(f"its pickle has {size} bytes, more than {MAX_PICKLE}")
        file.seek(start)
        content = file.read(size)
    known: dict[int, Storage | StoredTensor] = {**storages, **tensors}
    return run_pickle(BytesIO(content), TorchCalls(lambda identity: _named(identity, known)))


def _named(identity: object, known: dict[int, Storage | StoredTensor]) -> object:
    if isinstance(identity, Row):
        return Inert(None)  # a module's class and source text, neither of which is used
    text = str(identity) if type(identity) in (int, str) else ""
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) not in known:
        raise PickleFault("its pickle names a tensor that is not in the file")
    return known[int(text)]


def _read_members(file: BinaryIO) -> dict[str, tuple[int, int]]:
    """Where each member's bytes begin and how many they are."""
    end = file.seek(0, 2)
    members: dict[str, tuple[int, int]] = {}
    place = 0
    while place + _BLOCK <= end:
        file.seek(place)
        block = file.read(_BLOCK)
        if not any(block):
            break  # the tar's own end
        try:
            info = TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except Exception:
            raise PickleFault("its tar is damaged: a header is no header") from None
        name = info.name.removeprefix("./")
        if not info.isreg() or info.issparse():
            raise PickleFault(f"its tar holds {shown(name)}, which is a link, a folder or a device")
        if name not in _MEMBERS:
            raise PickleFault(f"its tar holds {shown(name)}, which no checkpoint has")
        if name in members:
            raise PickleFault(f"its tar holds {shown(name)} twice")
        start = place + _BLOCK
        if info.size < 0 or start + info.size > end:
            raise PickleFault(f"its tar gives {shown(name)} {info.size} bytes and is cut off")
        members[name] = (start, info.size)
        place = start + -(-info.size // _BLOCK) * _BLOCK
    return members


def _check_machine(file: BinaryIO, members: dict[str, tuple[int, int]]) -> None:
    if "sys_info" not in members:
        return
    facts = _Reader(file, *members["sys_info"]).pickle()
    if isinstance(facts, Table) and facts.get("little_endian", True) is not True:
        raise PickleFault("it was written by a big-endian machine", is_other_kind=True)


class _Reader:
    """One member, read front to back."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self.file = file
        self.place = start
        self.end = start + size

    def pickle(self) -> object:
        self.file.seek(self.place)
        stream = BytesIO(self.file.read(min(_SMALL_PICKLE, self.end - self.place)))
        value = run_pickle(stream, TorchCalls(_no_storage))
        self.place += stream.tell()
        return value

    def numbers(self, layout: str) -> tuple[int, ...]:
        size = struct.calcsize(layout)
        if self.place + size > self.end:
            raise PickleFault("its tar is cut off within a tensor's description")
        self.file.seek(self.place)
        self.place += size
        return struct.unpack(layout, self.file.read(size))

    def count(self) -> int:
        count = self.pickle()
        if type(count) is not int or not 0 <= count <= MAX_TENSORS:
            raise PickleFault("its tar has an absurd number of storages or tensors")
        return count

    def row_of(self, length: int) -> Row:
        row = self.pickle()
        if not isinstance(row, Row) or len(row) != length:
            raise PickleFault("its tar describes a storage or tensor otherwise than torch does")
        return row


def _no_storage(identity: object) -> object:
    raise PickleFault("its tar describes a storage by another storage")


def _read_storages(reader: _Reader) -> dict[int, Storage]:
    storages: dict[int, Storage] = {}
    for _ in range(reader.count()):
        key, _, kind = reader.row_of(3)
        number, dtype = whole(key), storage_dtype(kind)
        if number in storages:
            raise PickleFault(f"its tar holds the storage {number} twice")
        (count,) = reader.numbers("<q")
        storage = Storage(str(number), dtype, count)
        if count < 0:
            raise PickleFault(f"its storage {number} claims {count} elements")
        reader.place = place_storage(reader.file, storage, reader.place - 8, reader.end)
        storages[number] = storage
    views = reader.pickle()
    if not isinstance(views, Items):
        raise PickleFault("its tar's list of parts of storages is no list")
    for view in views:
        if not isinstance(view, Row) or len(view) != 4:
            raise PickleFault("its tar describes a part of a storage otherwise than torch does")
        part, root, offset, count = (whole(number) for number in view)
        if root not in storages or not 0 <= offset <= offset + count <= storages[root].count:
            raise PickleFault("a part of a storage reaches beyond its storage")
        if part in storages:
            raise PickleFault(f"its tar holds the storage {part} twice")
        start = storages[root].start + offset * DTYPES[storages[root].dtype].itemsize
        storages[part] = Storage(str(part), storages[root].dtype, count, start)
    return storages


def _read_tensors(reader: _Reader, storages: dict[int, Storage]) -> dict[int, StoredTensor]:
    tensors: dict[int, StoredTensor] = {}
    for _ in range(reader.count()):
        key, storage, kind = reader.row_of(3)
        number = whole(key)
        if not isinstance(kind, GlobalName) or whole(storage) not in storages:
            raise PickleFault("its tar describes a tensor on a storage that is not there")
        dimensions, _ = reader.numbers("<ii")
        if not 0 <= dimensions <= MAX_DIMENSIONS:
            raise PickleFault(f"a tensor has an absurd shape of {dimensions} dimensions")
        shape = reader.numbers(f"<{dimensions}q")
        strides = reader.numbers(f"<{dimensions}q")
        (offset,) = reader.numbers("<q")
        if number in tensors or number in storages:
            raise PickleFault(f"its tar holds the tensor {number} twice")
        run = storages[storage]
        tensors[number] = StoredTensor(run, run.dtype, offset, shape, strides)
    return tensors
