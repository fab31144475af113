"""Enters a member of a ZIP in its middle, where an earlier run left it half-unpacked."""

import hashlib
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from esdctl.transfer.journal import MemberMark
from esdctl.transfer.segments import ByteSource

if TYPE_CHECKING:
    from hashlib import _Hash

    from esdctl.transfer.zip.deflate_boundary import Inflater

PACKED_WINDOW = 512 * 1024  # packed bytes before the mark in which a block has to begin
UNPACKED_WINDOW = 4 * 2**20  # unpacked bytes before the mark that are looked at
BLOCK = 2**20


@dataclass(frozen=True)
class Resumption:
    """The state in which a member is entered.

    Args:
        position: offset in the archive of the first byte to fetch.
        packed_end: offset in the archive where the member's packed bytes end.
        lead: packed bytes to feed before.
        window: what the packed bytes may refer back to.
        unpacked: bytes of the file that stay.
        crc32, sha256: of those.
    """

    position: int
    packed_end: int
    lead: bytes
    window: bytes
    unpacked: int
    crc32: int
    sha256: "_Hash"


def resume_member(
    source: ByteSource,
    path: Path,
    mark: MemberMark,
    is_deflated: bool,
    new_inflater: Callable[[bytes], "Inflater"],
) -> Resumption | None:
    """Find out how a half-unpacked member goes on.

    Args:
        source: the archive.
        path: the file that holds the beginning of the member.
        mark: what was recorded of it.
        is_deflated: else it is stored.
        new_inflater: as ``find_boundary`` takes it.

    Returns:
        The state; None when the file is not what was recorded, or no place to enter was found.

    Raises:
        NetworkError, NoRanges, SourceChanged: as ``RemoteFile.read``.
    """
    try:
        if path.is_symlink() or path.stat().st_size < mark.unpacked:
            return None
        if not is_deflated:
            return _checked(path, mark, mark.unpacked, b"", b"", mark.packed)
        with path.open("rb") as file:
            start = max(0, mark.unpacked - UNPACKED_WINDOW)
            file.seek(start)
            unpacked = file.read(mark.unpacked - start)
        from esdctl.transfer.zip.deflate_boundary import WINDOW, find_boundary  # loads numpy

        first = max(0, mark.packed - PACKED_WINDOW)
        boundary = find_boundary(_read(source, first, mark.packed), unpacked, new_inflater)
        if boundary is None:
            return None
        window = unpacked[boundary.unpacked - WINDOW : boundary.unpacked]
        stay, position = start + boundary.unpacked, first + boundary.packed
        return _checked(path, mark, stay, boundary.lead, window, position)
    except OSError:
        return None


def _checked(
    path: Path, mark: MemberMark, stay: int, lead: bytes, window: bytes, position: int
) -> Resumption | None:
    """Hash the ``stay`` bytes; None unless the CRC32 of all that was recorded is right."""
    sha256, crc32, done = hashlib.sha256(), 0, 0
    crc32_of_stay = 0
    with path.open("rb") as file:
        while done < mark.unpacked:
            limit = stay if done < stay else mark.unpacked
            block = file.read(min(BLOCK, limit - done))
            if not block:
                return None
            crc32 = zlib.crc32(block, crc32)
            done += len(block)
            if done <= stay:
                sha256.update(block)
                crc32_of_stay = crc32
    if crc32 != mark.crc32:
        return None
    return Resumption(position, mark.packed_end, lead, window, stay, crc32_of_stay, sha256)


def _read(source: ByteSource, start: int, end: int) -> bytes:
    with closing(source.read(start, end)) as chunks:
        return b"".join(chunks)
