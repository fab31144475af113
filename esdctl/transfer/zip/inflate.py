"""One member of a ZIP, inflated as its bytes arrive, held against its CRC32 and sizes."""

import hashlib
import importlib
import os
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Protocol

from esdctl.errors import IntegrityError
from esdctl.transfer.background_worker import BackgroundWorker
from esdctl.transfer.zip.resumption import Resumption
from esdctl.transfer.zip.rules import Member

INPUT_SLICE = 256 * 1024  # what the decompressor holds back is copied at each call
OUTPUT_BLOCK = 512 * 1024  # unpacked bytes in memory at once, whatever the ratio
IN_BACKGROUND = 16 * 2**20  # bytes from which on a deflated member is worth a second thread
MARK_EVERY = 32 * 2**20  # unpacked bytes of a member between two durable marks


def _find_inflater() -> ModuleType:
    """isal inflates twice as fast as zlib; its module has the same interface."""
    try:
        return importlib.import_module("isal.isal_zlib")
    except ImportError:
        return zlib


_inflater = _find_inflater()


def new_inflater(dictionary: bytes = b"") -> "_Decompressor":
    """A decompressor of a raw deflate stream, or of the rest of one after ``dictionary``."""
    options = {"zdict": dictionary} if dictionary else {}
    inflater: _Decompressor = _inflater.decompressobj(wbits=-zlib.MAX_WBITS, **options)
    return inflater


def inflater_name() -> str:
    """The module that inflates: ``isal.isal_zlib`` or ``zlib``."""
    return _inflater.__name__


class _Decompressor(Protocol):
    eof: bool
    unused_data: bytes
    unconsumed_tail: bytes

    def decompress(self, data: bytes | memoryview, max_length: int) -> bytes: ...


Mark = Callable[[int, int, int], None]  # (unpacked, CRC32, offset of the next packed byte)


class MemberFile:
    """One member on its way to its file.

    Args:
        member: what the archive's directory tells of it.
        path: the file; it is written anew, or from where ``resumption`` says.
        mark: told now and then how far it is.
        resumption: what an earlier run left.
    """

    def __init__(
        self, member: Member, path: Path, mark: Mark, resumption: Resumption | None = None
    ) -> None:
        self.path = path
        self._member = member
        self._mark = mark
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(path, flags, 0o666), "wb")
        self._write: Callable[[memoryview], None] = self._inflate if member.method else self._store
        self._worker = (
            BackgroundWorker() if member.method and member.size >= IN_BACKGROUND else None
        )
        start = resumption or Resumption(0, 0, b"", b"", 0, 0, hashlib.sha256())
        self._size = self._marked = start.unpacked
        self._crc32 = start.crc32
        self._sha256 = start.sha256.copy()
        self._file.truncate(start.unpacked)
        self._file.seek(start.unpacked)
        if member.method:
            self._decompressor = new_inflater(start.window)
            self._inflate(start.lead)

    def feed(self, data: memoryview, position: int) -> None:
        """Take packed bytes, which lie at ``position`` in the archive."""
        for start in range(0, len(data), INPUT_SLICE):
            part = data[start : start + INPUT_SLICE]
            self._write(part)
            if self._size - self._marked >= MARK_EVERY:
                self._marked = self._size
                self._in_background(partial(self._note, self._size, position + start + len(part)))

    def finish(self) -> str:
        """Check sizes and checksum, close the file, and give its SHA-256."""
        member = self._member
        if self._worker is not None:
            worker, self._worker = self._worker, None
            worker.close()
        if member.method and not self._decompressor.eof:
            self._refuse("its packed bytes end too early")
        if self._size != member.size:
            self._refuse(f"it has {self._size} bytes, not {member.size}")
        if self._crc32 != member.crc32:
            self._refuse(f"its CRC32 is {self._crc32:08x}, not {member.crc32:08x}")
        self._file.close()
        return self._sha256.hexdigest()

    def abandon(self) -> None:
        if self._worker is not None:
            with suppress(OSError):  # told already, or about to be
                self._worker.close()
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
            self._in_background(partial(self._keep, block))
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

    def _in_background(self, job: Callable[[], None]) -> None:
        """Do a job in the background thread, if there is one, after those before it."""
        if self._worker is not None:
            self._worker.put(job)
        else:
            job()

    def _note(self, unpacked: int, packed: int) -> None:
        self._file.flush()
        self._mark(unpacked, self._crc32, packed)

    def _keep(self, block: bytes | memoryview) -> None:
        self._crc32 = _inflater.crc32(block, self._crc32)
        self._sha256.update(block)
        self._file.write(block)

    def _refuse(self, reason: str) -> None:
        """Raises:
        IntegrityError: always.
        """
        raise IntegrityError(f"the member {self._member.name!r} is damaged: {reason}")
