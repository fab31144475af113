"""A file that fills in any order; its digest follows the part without gaps.

SHA-256 needs the bytes in order, and they arrive out of order. So the digest reads the file itself,
behind the writers: its contiguous part lies in the page cache still, no byte has to wait in memory,
and what is hashed is what the file holds, not what came over the wire.
"""

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

BLOCK = 2**20


class PartialFile:
    """One file being written by several threads.

    Args:
        path: in the staging folder; made when it is not there.
        size: in bytes, when it is complete.
        kept: ranges (start, end) that are there already.
        with_git_sha1: also compute the digest of git's blob.
    """

    def __init__(
        self, path: Path, size: int, kept: Sequence[tuple[int, int]], with_git_sha1: bool
    ) -> None:
        self.path = path
        self.size = size
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(path, flags, 0o666)
        os.ftruncate(self._descriptor, size)
        self._lock = threading.Lock()
        self._hashing = threading.Lock()
        self._ends = dict(kept)  # start of a range -> its end, not yet joined to the prefix
        self._prefix = 0  # all bytes before it are there
        self._hashed = 0
        self._digests = _new_digests(size, with_git_sha1)
        self._join()

    def write(self, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset``."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._descriptor, view, offset)
            offset += written
            view = view[written:]

    def mark(self, start: int, end: int) -> None:
        """The bytes from ``start`` up to ``end`` are written; let the digest follow."""
        with self._lock:
            self._ends[start] = max(end, self._ends.get(start, 0))
            self._join()
        if self._hashing.acquire(blocking=False):  # else another thread is at it
            try:
                self._follow()
            finally:
                self._hashing.release()

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are there."""
        with self._lock:
            return self._prefix == self.size

    def digests(self) -> tuple[str, str]:
        """SHA-256 and git's SHA-1 of the complete file, in hexadecimal; "" if not asked for."""
        with self._hashing:
            self._follow()
        found = [digest.hexdigest() for digest in self._digests]
        return found[0], found[1] if len(found) > 1 else ""

    def close(self) -> None:
        """Close the file; once is enough."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _join(self) -> None:
        """Move the prefix over the ranges that touch it."""
        while (end := self._ends.pop(self._prefix, None)) is not None and end > self._prefix:
            self._prefix = end

    def _follow(self) -> None:
        while self._hashed < self._prefix:
            block = os.pread(
                self._descriptor, min(BLOCK, self._prefix - self._hashed), self._hashed
            )
            if not block:
                raise OSError(f"{self.path} became shorter while it was written")
            for digest in self._digests:
                digest.update(block)
            self._hashed += len(block)


def _new_digests(size: int, with_git_sha1: bool) -> list["hashlib._Hash"]:
    digests = [hashlib.sha256()]
    if with_git_sha1:
        digests.append(hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False))
    return digests
