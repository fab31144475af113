"""Members of a ZIP, inflated as their bytes arrive, each held against its CRC32 and sizes."""

import hashlib
import importlib
import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Protocol

from esdctl.errors import IntegrityError
from esdctl.transfer.drain import Drain
from esdctl.transfer.zip_rules import (
    Member,
    check_descriptor,
    check_local_header,
    local_header_length,
)

INPUT_SLICE = 256 * 1024  # what the decompressor holds back is copied at each call
OUTPUT_BLOCK = 512 * 1024  # unpacked bytes in memory at once, whatever the ratio
WITH_DRAIN = 16 * 2**20  # bytes from which on a deflated member is worth a second thread
LOCAL_HEADER_START = 30


def _find_inflater() -> ModuleType:
    """isal inflates twice as fast as zlib; its module has the same interface."""
    try:
        return importlib.import_module("isal.isal_zlib")
    except ImportError:
        return zlib


_inflater = _find_inflater()


def inflater_name() -> str:
    """The module that inflates: ``isal.isal_zlib`` or ``zlib``."""
    return _inflater.__name__


class _Decompressor(Protocol):
    eof: bool
    unused_data: bytes
    unconsumed_tail: bytes

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes: ...


class Unpacking(Protocol):
    """What a ``MemberSink`` asks and tells."""

    def place_of(self, member: Member) -> Path | None:
        """Where a member is written; None when it is not wanted, or complete already."""

    def moved(self, member: Member, count: int) -> None:
        """``count`` packed bytes of the member arrived; negative when they are void."""

    def completed(self, member: Member, path: Path, size: int, sha256: str) -> None:
        """The member is written and right."""


class MemberSink:
    """Takes the bytes of members that lie one behind another in the archive.

    Args:
        members: in the archive's order.
        unpacking: where they go, and who is told.
    """

    def __init__(self, members: Sequence[Member], unpacking: Unpacking) -> None:
        self._members = iter(members)
        self._unpacking = unpacking
        self._file: _MemberFile | None = None
        self._moved: dict[str, tuple[Member, int]] = {}  # to take back when the bytes are void
        self._next_member()

    def feed(self, data: memoryview) -> None:
        """The next bytes of the archive.

        Raises:
            IntegrityError: a header, a size or a checksum is wrong.
        """
        while data and self._member is not None:
            member = self._member
            taken = self._take(member, data[: member.end - self._position])
            self._unpacking.moved(member, taken)
            _, before = self._moved.get(member.name, (member, 0))
            self._moved[member.name] = (member, before + taken)
            data = data[taken:]
            self._position += taken
            if self._position == member.end:
                self._end_member(member)

    def finish(self) -> None:
        """All bytes were fed.

        Raises:
            IntegrityError: a member is not complete.
        """
        if self._member is not None:
            raise IntegrityError(f"the archive ends inside {self._member.name!r}")

    def abandon(self) -> None:
        """Close what is half-written; the next try writes it anew."""
        if self._file is not None:
            self._file.abandon()
            self._file = None
        for member, count in self._moved.values():
            self._unpacking.moved(member, -count)
        self._moved.clear()

    def _next_member(self) -> None:
        self._member = next(self._members, None)
        self._header = bytearray()
        self._header_length = 0  # 0 until its first 30 bytes tell
        self._packed_end = 0
        self._trailer = bytearray()
        if self._member is not None:
            self._position = self._member.header_offset

    def _take(self, member: Member, view: memoryview) -> int:
        """Take header, packed bytes or trailer, whichever is next; returns how many bytes."""
        if not self._packed_end:
            needed = (self._header_length or LOCAL_HEADER_START) - len(self._header)
            part = view[:needed]
            self._header += part
            if len(part) == needed:
                self._end_header(member)
            return len(part)
        part = view[: self._packed_end - self._position]
        if part:
            if self._file is not None:
                self._file.feed(part)
            return len(part)
        self._trailer += view
        return len(view)

    def _end_header(self, member: Member) -> None:
        """The header is complete, or its first 30 bytes are, which tell its length."""
        header = bytes(self._header)
        if not self._header_length:
            self._header_length = local_header_length(header)
            if self._header_length > len(header):
                return
        self._packed_end = (
            member.header_offset + check_local_header(member, header) + member.compressed
        )
        path = self._unpacking.place_of(member)
        self._file = None if path is None else _MemberFile(member, path)

    def _end_member(self, member: Member) -> None:
        if not self._packed_end:
            raise IntegrityError(f"the member {member.name!r} is cut off in its local header")
        check_descriptor(member, bytes(self._trailer))
        if self._file is not None:
            file = self._file
            sha256 = file.finish()
            self._file = None
            self._unpacking.completed(member, file.path, member.size, sha256)
        self._next_member()


class _MemberFile:
    """One member on its way to its file."""

    def __init__(self, member: Member, path: Path) -> None:
        self.path = path
        self._member = member
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(path, flags, 0o666), "wb")
        self._sha256 = hashlib.sha256()
        self._crc32 = 0
        self._size = 0
        self._write: Callable[[memoryview], None] = self._inflate if member.method else self._store
        self._decompressor: _Decompressor = _inflater.decompressobj(wbits=-zlib.MAX_WBITS)
        is_worth_it = member.method and member.size >= WITH_DRAIN
        self._drain = Drain(self._keep) if is_worth_it else None

    def feed(self, data: memoryview) -> None:
        for start in range(0, len(data), INPUT_SLICE):
            self._write(data[start : start + INPUT_SLICE])

    def finish(self) -> str:
        """Check sizes and checksum, close the file, and give its SHA-256."""
        member = self._member
        if self._drain is not None:
            drain, self._drain = self._drain, None
            drain.close()
        if member.method and not self._decompressor.eof:
            self._refuse("its packed bytes end too early")
        if self._size != member.size:
            self._refuse(f"it has {self._size} bytes, not {member.size}")
        if self._crc32 != member.crc32:
            self._refuse(f"its CRC32 is {self._crc32:08x}, not {member.crc32:08x}")
        self._file.close()
        return self._sha256.hexdigest()

    def abandon(self) -> None:
        if self._drain is not None:
            with suppress(OSError):  # told already, or about to be
                self._drain.close()
        with suppress(OSError):
            self._file.close()

    def _inflate(self, data: bytes | memoryview) -> None:
        decompressor = self._decompressor
        if decompressor.eof:
            self._refuse("bytes follow the end of its packed ones")
        while True:
            try:
                block = decompressor.decompress(data, OUTPUT_BLOCK)
            except (zlib.error, getattr(_inflater, "error", zlib.error)) as error:
                raise IntegrityError(f"the member {self._member.name!r}: {error}") from error
            self._count(len(block))
            if self._drain is not None:
                self._drain.put(block)
            else:
                self._keep(block)
            if decompressor.unused_data:
                self._refuse("bytes follow the end of its packed ones")
            data = decompressor.unconsumed_tail
            if decompressor.eof or (not data and len(block) < OUTPUT_BLOCK):
                return

    def _store(self, block: memoryview) -> None:
        self._count(len(block))
        self._keep(block)

    def _count(self, length: int) -> None:
        self._size += length
        if self._size > self._member.size:
            self._refuse(f"it unpacks to more than {self._member.size} bytes")

    def _keep(self, block: bytes | memoryview) -> None:
        self._crc32 = _inflater.crc32(block, self._crc32)
        self._sha256.update(block)
        self._file.write(block)

    def _refuse(self, reason: str) -> None:
        """Raises:
        IntegrityError: always.
        """
        raise IntegrityError(f"the member {self._member.name!r} is damaged: {reason}")
