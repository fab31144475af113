"""A storage: a run of equal elements in a checkpoint's file, and how torch's pickles name one."""

from dataclasses import dataclass

from esdctl.checkpoints.pickles.names import GlobalName
from esdctl.checkpoints.pickles.values import PickleFault, Row
from esdctl.checkpoints.tensor_info import DTYPES
from esdctl.untrusted_text import shown

MAX_PICKLE = 64 * 2**20  # bytes; SDXL's has about 0.5 MB

# torch's storage classes, and safetensors' names of their elements.
_STORAGES = {
    "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
    "ByteStorage": "U8", "BoolStorage": "BOOL", "ComplexFloatStorage": "C64",
    "UntypedStorage": "U8", "_UntypedStorage": "U8",
}  # fmt: skip


@dataclass(eq=False)
class Storage:
    """A run of equal elements in a file.

    Args:
        key: torch's name for it, unique in its file.
        dtype: safetensors' name of its elements' type.
        count: elements, as the pickle says; who opens the file checks it against the bytes there.
        start: where in the file its first byte is; -1 until that is known.
        crc32: of its bytes, as the file says; 0 where it says none.
    """

    key: str
    dtype: str
    count: int
    start: int = -1
    crc32: int = 0

    @property
    def bytes(self) -> int:
        return self.count * DTYPES[self.dtype].itemsize


def storage_of(identity: object, known: dict[str, Storage]) -> Storage:
    """The storage that a persistent id names, the same one for the same key.

    Args:
        identity: ("storage", class, key, location, elements), as torch writes it.
        known: the storages named so far; a new one is added.

    Raises:
        PickleFault: it is no such tuple, or describes a known storage otherwise.
    """
    if not isinstance(identity, Row) or len(identity) < 5 or identity[0] != "storage":
        raise PickleFault("a persistent id is no storage of torch")
    _, kind, key, _, count = identity[:5]
    if type(key) is not str:
        raise PickleFault("a storage's key is no text")
    new = Storage(key, storage_dtype(kind), whole(count))
    if new.count < 0:
        raise PickleFault(f"its storage {shown(key)} claims {new.count} elements")
    old = known.setdefault(key, new)
    if (old.dtype, old.count) != (new.dtype, new.count):
        raise PickleFault(f"its storage {shown(key)} is described in two ways")
    return old


def storage_dtype(kind: object) -> str:
    """safetensors' name of the elements of a storage class.

    Raises:
        PickleFault: no such class, or one of quantised elements.
    """
    if not isinstance(kind, GlobalName) or kind.module.partition(".")[0] != "torch":
        raise PickleFault("a storage is of something else than a storage class of torch")
    if kind.name not in _STORAGES:
        raise PickleFault(f"a storage is of {kind}, which is not read", is_other_kind=True)
    return _STORAGES[kind.name]


def whole(value: object) -> int:
    """The value as an int that fits into 64 bits.

    Raises:
        PickleFault: it is something else.
    """
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise PickleFault("a size, stride or offset is no whole number of 64 bits")
    return value
