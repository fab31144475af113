"""Where a ZIP's directory lies: the end record, and ZIP64's, read from the archive's last bytes.

The end record must be the only one, end with the archive's last byte, and stand directly behind
the directory (with ZIP64: directory, ZIP64 end record, locator, end record, without a gap).
Section numbers are those of PKWARE's APPNOTE 6.3.10.
"""

import struct
from dataclasses import dataclass

from esdctl.transfer.refusal import refusal
from esdctl.transfer.zip.limits import DEFAULT_LIMITS, Limits

_END = struct.Struct("<4s4H2LH")  # 4.3.16
_END_SIGNATURE = b"PK\5\6"
_LOCATOR = struct.Struct("<4sLQL")  # 4.3.15
_LOCATOR_SIGNATURE = b"PK\6\7"
_END64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_END64_SIGNATURE = b"PK\6\6"
_MAX_COMMENT = 0xFFFF
_SMALLEST_ENTRY = 46  # 4.3.12: an entry of the directory with no name

TAIL_SIZE = _END64.size + _LOCATOR.size + _END.size + _MAX_COMMENT


@dataclass(frozen=True)
class DirectoryPlace:
    """Where the central directory lies, and how many members it lists."""

    offset: int
    size: int
    members: int


@dataclass(frozen=True)
class _Claims:
    """What an end record says, in the order of APPNOTE: disks, counts, directory."""

    disk: int
    directory_disk: int
    members_here: int
    members: int
    size: int
    offset: int


_WIDEST = _Claims(0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)  # "see ZIP64": 4.4.1.4


def find_directory(tail: bytes, total: int, limits: Limits = DEFAULT_LIMITS) -> DirectoryPlace:
    """Find the central directory.

    Args:
        tail: the last bytes of the archive: ``TAIL_SIZE`` of them, or all when there are fewer.
        total: bytes of the whole archive.
        limits: caps on members and on the directory.

    Raises:
        IntegrityError: no ZIP, cut off, junk around the records, or lies in them.
        ValueError: ``tail`` is too short to tell.
    """
    if len(tail) > total or len(tail) < min(total, TAIL_SIZE):
        raise ValueError(f"{len(tail)} bytes are not the tail of {total}")
    at = _find_end_record(tail)
    start = total - len(tail)  # of the tail in the archive
    claims = _Claims(*_END.unpack_from(tail, at)[1:7])
    end_of_directory = start + at
    locator_at = at - _LOCATOR.size
    if tail[max(0, locator_at) : at].startswith(_LOCATOR_SIGNATURE) and locator_at >= 0:
        end_of_directory = start + locator_at - _END64.size
        claims = _read_zip64(tail, locator_at, start, claims)
    elif claims.size == _WIDEST.size or claims.offset == _WIDEST.offset:
        raise refusal("the end record points to a ZIP64 end record, and there is none")
    _check_claims(claims, end_of_directory, limits)
    return DirectoryPlace(claims.offset, claims.size, claims.members)


def _find_end_record(tail: bytes) -> int:
    """The end record's position in ``tail``: the last one, which must reach to the last byte."""
    last = tail.rfind(_END_SIGNATURE)
    if last < 0:
        raise refusal("this is no ZIP archive, or its end is missing: it has no end record")
    fitting = _fitting_end_records(tail)
    if fitting == [last]:
        return last
    if last in fitting:
        raise refusal("the archive has several end records that fit")
    if fitting:
        raise refusal("the archive's comment hides another end record")
    if last + _END.size > len(tail):
        raise refusal("the archive is cut off in its end record")
    missing = _reach(tail, last) - len(tail)
    if missing < 0:
        raise refusal(f"{-missing} bytes of junk follow the archive")
    raise refusal(f"the archive is cut off: {missing} bytes of its comment are missing")


def _fitting_end_records(tail: bytes) -> list[int]:
    """The end records whose comment reaches exactly to the last byte; each reads as an archive."""
    fitting = []
    at = tail.find(_END_SIGNATURE)
    while 0 <= at <= len(tail) - _END.size:
        if _reach(tail, at) == len(tail):
            fitting.append(at)
        at = tail.find(_END_SIGNATURE, at + 1)
    return fitting


def _reach(tail: bytes, at: int) -> int:
    """Where the end record at ``at`` ends, with its comment."""
    comment: int = _END.unpack_from(tail, at)[7]
    return at + _END.size + comment


def _read_zip64(tail: bytes, locator_at: int, start: int, narrow: _Claims) -> _Claims:
    """Read the ZIP64 end record that must stand directly before its locator."""
    _, disk, offset, disks = _LOCATOR.unpack_from(tail, locator_at)
    if disk != 0 or disks != 1:
        raise refusal("the archive spans several disks, says its ZIP64 locator")
    at = locator_at - _END64.size
    if at < 0 or tail[at : at + 4] != _END64_SIGNATURE:
        raise refusal("no ZIP64 end record stands directly before its locator")
    if offset != start + at:
        raise refusal(
            f"the ZIP64 locator points to byte {offset}, the ZIP64 end record is at {start + at}"
        )
    _, size, _, _, *wide = _END64.unpack_from(tail, at)
    if size != _END64.size - 12:  # 4.3.14.1: the leading 12 bytes do not count
        raise refusal(f"the ZIP64 end record says it has {size} bytes, not {_END64.size - 12}")
    claims = _Claims(*wide)
    for field, widest in vars(_WIDEST).items():
        if getattr(narrow, field) not in (widest, getattr(claims, field)):
            raise refusal(
                f"the two end records disagree on {field.replace('_', ' ')}: "
                f"{getattr(narrow, field)} and, in ZIP64's, {getattr(claims, field)}"
            )
    return claims


def _check_claims(claims: _Claims, end: int, limits: Limits) -> None:
    """``end``: the byte where the directory must end and the first end record begins."""
    if claims.disk != 0 or claims.directory_disk != 0:
        raise refusal("the archive spans several disks")
    if claims.members_here != claims.members:
        raise refusal(f"{claims.members} members, {claims.members_here} of them on this disk")
    if claims.offset + claims.size > end:
        raise refusal(
            f"the directory of {claims.size} bytes at {claims.offset} reaches into its end record"
        )
    if claims.offset + claims.size < end:
        raise refusal(
            f"the directory should end at byte {claims.offset + claims.size}, its end record "
            f"begins at {end}: junk before either, or a wrong offset or size"
        )
    if claims.members * _SMALLEST_ENTRY > claims.size:
        raise refusal(f"{claims.members} members do not fit in {claims.size} bytes of directory")
    if claims.members > limits.max_members:
        raise refusal(f"{claims.members} members, more than {limits.max_members}")
    if claims.size > limits.max_directory:
        raise refusal(f"the directory has {claims.size} bytes, more than {limits.max_directory}")
