"""ZIPs from raw structures: every field can lie, every gap can hold junk."""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Fields: TypeAlias = Mapping[str, int | bytes]

STORED, DEFLATED = 0, 8
UTF8 = 1 << 11
DESCRIPTOR = 1 << 3
REGULAR = 0o100644 << 16  # external attributes of a plain file made on Unix
FOLDER = 0o040755 << 16

# Field and width, in the order of PKWARE's APPNOTE 4.3.7, 4.3.12, 4.3.14, 4.3.15, 4.3.16.
_LOCAL = {
    "signature": "4s", "version": "H", "flags": "H", "method": "H", "time": "H", "date": "H",
    "crc32": "L", "compressed": "L", "size": "L", "name_length": "H", "extra_length": "H",
}  # fmt: skip
_CENTRAL = {
    "signature": "4s", "made_by": "H", "version": "H", "flags": "H", "method": "H", "time": "H",
    "date": "H", "crc32": "L", "compressed": "L", "size": "L", "name_length": "H",
    "extra_length": "H", "comment_length": "H", "disk": "H", "internal": "H", "attributes": "L",
    "offset": "L",
}  # fmt: skip
_END64 = {
    "signature": "4s", "record_size": "Q", "made_by": "H", "version": "H", "disk": "L",
    "directory_disk": "L", "members_here": "Q", "members": "Q", "size": "Q", "offset": "Q",
}  # fmt: skip
_LOCATOR = {"signature": "4s", "disk": "L", "offset": "Q", "disks": "L"}
_END = {
    "signature": "4s", "disk": "H", "directory_disk": "H", "members_here": "H", "members": "H",
    "size": "L", "offset": "L", "comment_length": "H",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One member; ``local`` and ``central`` overrule single fields of its two headers.

    Args:
        data: what it unpacks to.
        packed: its bytes in the archive; made from ``data`` when None.
        descriptor: the bytes behind them; made when the flags promise one and this is None.
        extra: extra fields of both headers.
        before, after: junk around the member.
        listed: how often the directory lists it.
    """

    name: str | bytes
    data: bytes = b"a picture of a dog"
    method: int = STORED
    flags: int = 0
    attributes: int = REGULAR
    extra: bytes = b""
    packed: bytes | None = None
    descriptor: bytes | None = None
    local: Fields = field(default_factory=dict)
    central: Fields = field(default_factory=dict)
    before: bytes = b""
    after: bytes = b""
    listed: int = 1


@dataclass(frozen=True)
class Archive:
    """A whole archive; ``end``, ``end64`` and ``locator`` overrule fields of the end records.

    Args:
        before: junk before the first member; offsets count from the archive's first byte.
        prepended: junk before all, which no offset knows of.
        zip64: write ZIP64's end record and locator.
        gaps: junk before the directory, the end record, the ZIP64 locator, and at the very end.
        cut: bytes missing at the end.
    """

    entries: tuple[Entry, ...] = ()
    before: bytes = b""
    prepended: bytes = b""
    before_directory: bytes = b""
    after_directory: bytes = b""
    before_locator: bytes = b""
    before_end: bytes = b""
    after: bytes = b""
    comment: bytes = b""
    zip64: bool = False
    end: Fields = field(default_factory=dict)
    end64: Fields = field(default_factory=dict)
    locator: Fields = field(default_factory=dict)
    cut: int = 0

    def build(self) -> bytes:
        body = self.before
        directory = b""
        for entry in self.entries:
            body += entry.before
            directory += central_header(entry, len(body)) * entry.listed
            body += local_header(entry) + packed(entry) + _descriptor(entry) + entry.after
        body += self.before_directory
        listed = sum(entry.listed for entry in self.entries)
        claims: Fields = {
            "disk": 0, "directory_disk": 0, "members_here": listed, "members": listed,
            "size": len(directory), "offset": len(body),
        }  # fmt: skip
        body += directory + self.after_directory
        if self.zip64:
            body += self._zip64_records(len(body), claims)
        length = len(self.comment)
        record: Fields = {"signature": b"PK\5\6", **claims, "comment_length": length, **self.end}
        body += self.before_end + _pack(_END, record) + self.comment + self.after
        return self.prepended + body[: len(body) - self.cut]

    def _zip64_records(self, offset: int, claims: Fields) -> bytes:
        fixed: Fields = {"signature": b"PK\6\6", "record_size": 44, "made_by": 45, "version": 45}
        record: Fields = {**fixed, **claims, **self.end64}
        locator: Fields = {
            "signature": b"PK\6\7",
            "disk": 0,
            "offset": offset,
            "disks": 1,
            **self.locator,
        }
        return _pack(_END64, record) + self.before_locator + _pack(_LOCATOR, locator)


def extra_field(kind: int, content: bytes, length: int | None = None) -> bytes:
    """An extra field; ``length`` lies about its content."""
    return struct.pack("<2H", kind, len(content) if length is None else length) + content


def unicode_path(raw: bytes, name: str | bytes, version: int = 1) -> bytes:
    """The Unicode path field that says that the header's ``raw`` means ``name``."""
    content = name if isinstance(name, bytes) else name.encode()
    return extra_field(0x7075, struct.pack("<BL", version, zlib.crc32(raw)) + content)


def zip64_field(*values: int) -> bytes:
    return extra_field(0x0001, struct.pack(f"<{len(values)}Q", *values))


def packed(entry: Entry) -> bytes:
    if entry.packed is not None:
        return entry.packed
    if entry.method != DEFLATED:
        return entry.data
    return deflate(entry.data)


def deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def local_header(entry: Entry) -> bytes:
    known: Fields = {} if not entry.flags & DESCRIPTOR else {"crc32": 0, "compressed": 0, "size": 0}
    return _header(_LOCAL, {**_shared(entry), "signature": b"PK\3\4", **known, **entry.local})


def central_header(entry: Entry, offset: int) -> bytes:
    own: Fields = {
        "signature": b"PK\1\2", "made_by": 3 << 8 | 20, "disk": 0, "internal": 0,
        "attributes": entry.attributes, "offset": offset,
    }  # fmt: skip
    return _header(_CENTRAL, {**_shared(entry), **own, **entry.central})


def _shared(entry: Entry) -> Fields:
    """What both headers say."""
    name = entry.name if isinstance(entry.name, bytes) else entry.name.encode()
    is_utf8 = isinstance(entry.name, str) and not entry.name.isascii()
    return {
        "version": 20, "flags": entry.flags | (UTF8 if is_utf8 else 0), "method": entry.method,
        "time": 0, "date": 0x21, "crc32": zlib.crc32(entry.data), "name": name,
        "compressed": len(packed(entry)), "size": len(entry.data), "extra": entry.extra,
    }  # fmt: skip


def _header(layout: Mapping[str, str], values: Fields) -> bytes:
    """A header with its name, extra fields and comment behind it, and their lengths in it."""
    parts = {part: values.get(part, b"") for part in ("name", "extra", "comment")}
    tail = b"".join(content for content in parts.values() if isinstance(content, bytes))
    lengths = {
        f"{part}_length": len(content)
        for part, content in parts.items()
        if isinstance(content, bytes)
    }
    return _pack(layout, {**lengths, **values}) + tail


def _descriptor(entry: Entry) -> bytes:
    if entry.descriptor is not None:
        return entry.descriptor
    if not entry.flags & DESCRIPTOR:
        return b""
    return descriptor(zlib.crc32(entry.data), len(packed(entry)), len(entry.data))


def descriptor(crc32: int, compressed: int, size: int) -> bytes:
    return struct.pack("<4s3L", b"PK\7\x08", crc32, compressed, size)


def _pack(layout: Mapping[str, str], values: Fields) -> bytes:
    return struct.pack("<" + "".join(layout.values()), *(values[name] for name in layout))
