"""The central directory: its entries one by one, then all of them together.

One entry must be a plain file or folder, stored or deflated, in clear. Together they must lie one
behind another from the archive's first byte to the directory, without overlap.
Section numbers are those of PKWARE's APPNOTE 6.3.10.
"""

import stat
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from esdctl.transfer.refusal import refusal
from esdctl.transfer.zip.end_record import DirectoryPlace
from esdctl.transfer.zip.extra import Fields, read_extra, unicode_name, with_zip64_values
from esdctl.transfer.zip.limits import (
    DEFAULT_LIMITS,
    DEFLATED,
    STORED,
    Limits,
    check_size,
    check_total,
)
from esdctl.transfer.zip.names import NameTree
from esdctl.untrusted_text import shown

_ENTRY = struct.Struct("<4s6H3L5H2L")  # 4.3.12
_ENTRY_SIGNATURE = b"PK\1\2"
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
LOCAL_HEADER_SIZE = 30  # 4.3.7
_SMALLEST_DESCRIPTOR, _LARGEST_DESCRIPTOR = 12, 24  # 4.3.9

DESCRIPTOR_FOLLOWS = 1 << 3  # 4.4.4
_UTF8 = 1 << 11
_KNOWN_FLAGS = 0b110 | DESCRIPTOR_FOLLOWS | _UTF8  # bits 1 and 2: how hard deflate tried
_REFUSED_FLAGS = {
    1 << 0: "is encrypted",
    1 << 5: "is patch data",
    1 << 6: "is encrypted (strong encryption)",
    1 << 13: "has a masked local header",
}
_AES_METHOD = 99  # 4.4.5
_LATEST_VERSION = 63  # 4.4.3.2

_DOS_VOLUME_LABEL = 0x08
_DOS_FOLDER = 0x10
_WINDOWS_REPARSE_POINT = 0x400  # FILE_ATTRIBUTE_REPARSE_POINT: a symbolic link or a mount point
_KINDS = {
    stat.S_IFLNK: "is a symbolic link",
    stat.S_IFCHR: "is a character device",
    stat.S_IFBLK: "is a block device",
    stat.S_IFIFO: "is a named pipe",
    stat.S_IFSOCK: "is a socket",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One member, as the central directory describes it.

    Args:
        name: relative POSIX path without a slash at its end.
        is_folder: the archive's name ends with a slash.
        method: 0 (stored) or 8 (deflated).
        flags: the general purpose bits.
        crc32: of the unpacked bytes.
        compressed, size: bytes packed and unpacked.
        header_offset: where the local header begins in the archive.
        end: where the next local header, or the directory, begins.
        raw_name: the name's bytes in the archive, for the local header to repeat.
    """

    name: str
    is_folder: bool
    method: int
    flags: int
    crc32: int
    compressed: int
    size: int
    header_offset: int
    end: int
    raw_name: bytes


def read_directory(
    data: bytes, place: DirectoryPlace, total: int, limits: Limits = DEFAULT_LIMITS
) -> tuple[Member, ...]:
    """Read the central directory and refuse the archive when anything in it is hostile.

    Args:
        data: the directory's bytes.
        place: where they lie, as ``find_directory`` found it.
        total: bytes of the whole archive.
        limits: caps against bombs.

    Returns:
        The members in the order of their local headers.

    Raises:
        IntegrityError: what is wrong, with the member.
        ValueError: ``data`` is not as long as ``place`` says.
    """
    if len(data) != place.size:
        raise ValueError(f"{len(data)} bytes are not the directory of {place.size}")
    members = sorted(_entries(data, place, limits), key=lambda member: member.header_offset)
    placed = tuple(_laid_out(members, place.offset))
    check_total(sum(member.size for member in placed), total, limits)
    return placed


def _entries(data: bytes, place: DirectoryPlace, limits: Limits) -> Iterator[Member]:
    """Each entry as a member that may reach to the directory."""
    names = NameTree(limits.max_members)
    at = 0
    for number in range(1, place.members + 1):
        member, at = _read_entry(data, at, number, place.offset, limits)
        names.add(member.name, is_folder=member.is_folder)
        yield member
    if data.startswith(_ENTRY_SIGNATURE, at):
        raise refusal(f"the directory lists more than the {place.members} members promised")
    if at < len(data):
        raise refusal(f"{len(data) - at} bytes of junk follow the last entry of the directory")


def _read_entry(
    data: bytes, at: int, number: int, directory_offset: int, limits: Limits
) -> tuple[Member, int]:
    """The entry at ``at``, and where the next one begins."""
    if at == len(data):
        raise refusal(f"the directory ends before the entry of member {number}")
    if not data.startswith(_ENTRY_SIGNATURE, at):
        raise refusal(f"no entry of the directory where that of member {number} should begin")
    if at + _ENTRY.size > len(data):
        raise refusal(f"the directory is cut off in the entry of member {number}")
    fields = _ENTRY.unpack_from(data, at)
    _, _, version, flags, method, _, _, crc32, compressed, size = fields[:10]
    name_length, extra_length, comment_length, disk, _, attributes, offset = fields[10:]
    name_at = at + _ENTRY.size
    extra_at = name_at + name_length
    end = extra_at + extra_length + comment_length
    if end > len(data):
        raise refusal(f"the directory is cut off in the entry of member {number}")
    raw_name = data[name_at:extra_at]
    title = f"the member {shown(raw_name.decode('utf-8', 'replace'))}"
    _check_form(flags, method, version, title)
    extra = read_extra(data[extra_at : extra_at + extra_length], title)
    size, compressed, offset, disk = with_zip64_values(
        extra, ((size, _MAX32), (compressed, _MAX32), (offset, _MAX32), (disk, _MAX16)), title
    )
    if disk != 0:
        raise refusal(f"{title} lies on another disk")
    name = read_name(raw_name, flags, extra, title)
    is_folder = name.endswith("/")
    _check_kind(attributes, is_folder, title)
    _check_content(is_folder, crc32, size, title)
    check_size(title, method, compressed, size, limits)
    name = name.removesuffix("/")
    member = Member(
        name, is_folder, method, flags, crc32, compressed, size, offset, directory_offset, raw_name
    )
    return member, end


def read_name(raw: bytes, flags: int, extra: Fields, member: str) -> str:
    """The name behind ``raw``: UTF-8 where flag bit 11 says so, else CP437 (appendix D).

    A Unicode path field must say the same, or hold the very bytes of ``raw``: Info-ZIP writes
    UTF-8 without the flag, and the field to tell.

    Raises:
        IntegrityError: not UTF-8, or the field disagrees.
    """
    try:
        name = raw.decode("utf-8" if flags & _UTF8 else "cp437", "strict")
    except UnicodeDecodeError as error:
        raise refusal(f"{member} has a name that is not UTF-8, though its flags say so") from error
    in_extra = unicode_name(extra, raw, member)
    if in_extra is None or in_extra == name:
        return name
    if flags & _UTF8 or in_extra.encode() != raw:
        raise refusal(f"{member} has a Unicode path field with another name: {shown(in_extra)}")
    return in_extra


def _check_form(flags: int, method: int, version: int, title: str) -> None:
    """Flags, method and version: nothing but stored and deflated, in clear."""
    if method == _AES_METHOD:
        raise refusal(f"{title} is encrypted (AES)")
    for flag, fault in reversed(_REFUSED_FLAGS.items()):
        if flags & flag:
            raise refusal(f"{title} {fault}")
    if flags & ~_KNOWN_FLAGS:
        raise refusal(f"{title} has unknown flags 0x{flags & ~_KNOWN_FLAGS:04x}")
    if method not in (STORED, DEFLATED):
        raise refusal(f"{title} is packed by method {method}, neither stored nor deflated")
    if version & 0xFF > _LATEST_VERSION:
        raise refusal(f"{title} needs version {version & 0xFF} of the format, which is unknown")


def _check_kind(attributes: int, is_folder: bool, title: str) -> None:
    """The attributes must say what the name says: a plain file or a folder.

    Unix modes count whatever system the archive claims to come from, since some readers use them
    so; the permissions in them are not used.
    """
    kind = stat.S_IFMT(attributes >> 16)
    if kind in _KINDS:
        raise refusal(f"{title} {_KINDS[kind]}")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refusal(f"{title} is of an unknown kind, 0o{kind:o}")
    if attributes & _WINDOWS_REPARSE_POINT:
        raise refusal(f"{title} is a link of Windows (reparse point)")
    if attributes & _DOS_VOLUME_LABEL:
        raise refusal(f"{title} is the label of a volume")
    if is_folder and kind == stat.S_IFREG:
        raise refusal(f"{title} is a folder by its name and a file by its mode")
    if not is_folder and (kind == stat.S_IFDIR or attributes & _DOS_FOLDER):
        raise refusal(f"{title} is a file by its name and a folder by its attributes")


def _check_content(is_folder: bool, crc32: int, size: int, title: str) -> None:
    if is_folder and size:
        raise refusal(f"{title} is a folder with {size} bytes of content")
    if not size and crc32:
        raise refusal(f"{title} is empty, and its CRC32 is not that of nothing")


def _laid_out(members: Sequence[Member], directory_offset: int) -> Iterator[Member]:
    """The members, each with its end; refused when they overlap or leave room for junk."""
    first = members[0].header_offset if members else directory_offset
    if first:
        raise refusal(f"{first} bytes of junk precede the first member")
    if members and members[-1].header_offset >= directory_offset:
        raise refusal(f"the member {shown(members[-1].name)} begins in or behind the directory")
    ends = [member.header_offset for member in members[1:]] + [directory_offset]
    for member, end in zip(members, ends, strict=False):
        _check_span(member, end, directory_offset)
        yield replace(member, end=end)


def _check_span(member: Member, end: int, directory_offset: int) -> None:
    """Whether a member fits before ``end``, whatever its local header says (at most 64 KiB)."""
    title = f"the member {shown(member.name)}"
    if member.header_offset == end:
        raise refusal(f"{title} shares its local header with another member")
    least = member.header_offset + LOCAL_HEADER_SIZE + len(member.raw_name) + member.compressed
    most = least + _MAX16
    if member.flags & DESCRIPTOR_FOLLOWS:
        least, most = least + _SMALLEST_DESCRIPTOR, most + _LARGEST_DESCRIPTOR
    if least > end:
        what = "reaches into the directory" if end == directory_offset else "overlaps the next one"
        raise refusal(f"{title} {what}")
    if most < end:
        raise refusal(f"at least {end - most} bytes of junk lie behind {title}")
