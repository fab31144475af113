"""Checkpoints from raw opcodes, in torch's two forms: every number can lie."""

import io
import pickle
import struct
import tarfile
from collections.abc import Mapping, Sequence

from tests.attacks.zip_builder import Archive, Entry

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
LITTLE = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {}}
FLOATS = struct.pack("<4f", 1, 2, 3, 4)


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def row(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def table(entries: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + row(*arguments) + b"R"


def storage(
    key: str = "0", count: int = 4, kind: str = "FloatStorage", module: str = "torch", *rest: bytes
) -> bytes:
    parts = (text("storage"), name(module, kind), text(key), text("cpu"), number(count))
    return row(*parts, *rest) + b"Q"


def tensor(
    on: bytes | None = None,
    offset: int = 0,
    shape: Sequence[int] = (2, 2),
    strides: Sequence[int] = (2, 1),
) -> bytes:
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage() if on is None else on,
        number(offset),
        row(*map(number, shape)),
        row(*map(number, strides)),
        b"\x89",
        call(name("collections", "OrderedDict")),
    )


def pickled(value: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + value + b"."


def state_dict(weight: bytes, **beside: bytes) -> bytes:
    """A checkpoint's pickle with one weight, and whatever lies beside the state dict."""
    return pickled(table({"state_dict": table({"weight": weight}), **beside}))


def entries_of(content: bytes, storages: Mapping[str, bytes] = {"0": FLOATS}) -> tuple[Entry, ...]:
    """The records of a ZIP checkpoint."""
    records = [Entry(f"archive/data/{key}", data) for key, data in storages.items()]
    return (Entry("archive/data.pkl", content), *records, Entry("archive/version", b"3\n"))


def zip_file(content: bytes, storages: Mapping[str, bytes] = {"0": FLOATS}) -> bytes:
    return Archive(entries_of(content, storages)).build()


def legacy_file(
    content: bytes,
    *,
    facts: object = LITTLE,
    version: int = VERSION,
    keys: object = ("0",),
    counts: Sequence[int] = (4,),
    data: bytes = FLOATS,
) -> bytes:
    """The form of torch 0.1.10 to 1.5; with one storage."""
    head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, version, facts))
    listing = pickle.dumps(list(keys) if isinstance(keys, tuple) else keys, 2)
    runs = b"".join(struct.pack("<q", count) + data for count in counts)
    return head + content + listing + runs


def tar_file() -> bytes:
    """A tar archive, as torch 0.1.9 and earlier wrote; what lies in it does not matter."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"))
    return packed.getvalue()
