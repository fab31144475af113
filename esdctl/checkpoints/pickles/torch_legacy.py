"""torch's form from 0.1.10 to 1.5: pickles one behind another, then the storages' bytes.

In order: a magic number, a version, facts of the machine, the object, the list of storage keys;
then for each key the number of elements (64 bits, little-endian) and the elements.
"""

from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from esdctl.checkpoints.pickles.machine import run_pickle
from esdctl.checkpoints.pickles.storages import MAX_PICKLE, Storage, storage_of, whole
from esdctl.checkpoints.pickles.stored_tensor import TorchCalls
from esdctl.checkpoints.pickles.values import Inert, Items, PickleFault, Row, Table
from esdctl.checkpoints.tensor_info import DTYPES
from esdctl.untrusted_text import shown

MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
VERSION = 1001  # torch.serialization.PROTOCOL_VERSION


def read_legacy(path: Path) -> tuple[object, tuple[str, ...]]:
    """The value of the pickled object, and the classes that it left aside.

    Its storages are found in the file.

    Raises:
        PickleFault: what is wrong with the file, or that it is no checkpoint.
    """
    with path.open("rb") as file:
        head = BytesIO(file.read(MAX_PICKLE))
        storages = _Storages()
        calls = TorchCalls(storages.load)
        _check_magic(head, calls)
        if run_pickle(head, calls) != VERSION:
            raise PickleFault("it is of a version of torch's form that does not exist")
        facts = run_pickle(head, calls)
        if isinstance(facts, Table) and facts.get("little_endian", True) is not True:
            raise PickleFault("it was written by a big-endian machine", is_other_kind=True)
        root = run_pickle(head, calls)
        keys = run_pickle(head, calls)
        if not isinstance(keys, Items):
            raise PickleFault("its list of storages is no list")
        storages.place(file, head.tell(), keys)
    return root, calls.left_aside


def place_storage(file: BinaryIO, storage: Storage, offset: int, size: int) -> int:
    """Say where a storage's elements lie, behind their number; gives the first byte after them.

    Raises:
        PickleFault: the number differs from the pickle's, or the file ends before.
    """
    file.seek(offset)
    count = int.from_bytes(file.read(8), "little", signed=True)
    if count != storage.count:
        fault = f"claims {storage.count} elements, the file has {count} for it"
        raise PickleFault(f"its storage {shown(storage.key)} {fault}")
    storage.start = offset + 8
    if storage.start + storage.bytes > size:
        raise PickleFault(
            f"its storage {shown(storage.key)} ends behind the file, which is cut off"
        )
    return storage.start + storage.bytes


def _check_magic(head: BytesIO, calls: TorchCalls) -> None:
    start = head.getvalue()[:2]
    try:
        found = run_pickle(head, calls)
    except PickleFault as error:
        if start[:1] == b"\x80" or "would run code" in error.fault:
            raise
        raise PickleFault("it is no checkpoint of any form", is_other_kind=True) from None
    if found != MAGIC:
        raise PickleFault("it is a bare pickle, not written by torch.save", is_other_kind=True)


class _Storages:
    """Persistent ids to storages, and to parts of storages ("views" of torch 0.1)."""

    def __init__(self) -> None:
        self._known: dict[str, Storage] = {}
        self._parts: dict[str, tuple[Storage, Storage, int]] = {}

    def load(self, identity: object) -> object:
        if isinstance(identity, Row) and identity and identity[0] == "module":
            return Inert(None)  # a module's class and source text, neither of which is used
        storage = storage_of(identity, self._known)
        view = identity[5] if isinstance(identity, Row) and len(identity) > 5 else None
        return storage if view is None else self._part(storage, view)

    def _part(self, storage: Storage, view: object) -> Storage:
        if not isinstance(view, Row) or len(view) != 3 or type(view[0]) is not str:
            raise PickleFault("a part of a storage is described otherwise than torch does")
        key, offset, count = view[0], whole(view[1]), whole(view[2])
        if not 0 <= offset <= offset + count <= storage.count:
            raise PickleFault("a part of a storage reaches beyond its storage")
        known = self._parts.get(key)
        if known is None:
            part = Storage(f"{storage.key} from {offset}", storage.dtype, count)
            known = self._parts[key] = (part, storage, offset)
        if known[1:] != (storage, offset) or known[0].count != count:
            raise PickleFault("a part of a storage is described in two ways")
        return known[0]

    def place(self, file: BinaryIO, offset: int, keys: Items) -> None:
        size = file.seek(0, 2)
        placed: set[str] = set()
        for key in keys:
            if type(key) is not str or key not in self._known:
                raise PickleFault("its list of storages names one that no tensor has")
            if key in placed:
                raise PickleFault(f"its list of storages names {shown(key)} twice")
            placed.add(key)
            offset = place_storage(file, self._known[key], offset, size)
        lost = next((key for key in self._known if key not in placed), None)
        if lost is not None:
            raise PickleFault(f"its storage {shown(lost)} is not in the file")
        for part, whole_storage, first in self._parts.values():
            itemsize = DTYPES[part.dtype].itemsize
            part.start = whole_storage.start + first * itemsize
