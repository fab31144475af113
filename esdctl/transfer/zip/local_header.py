"""A member's local header and data descriptor: both must repeat what the directory says.

Readers that stream believe the local header, others the directory: an archive whose two accounts
differ is one thing to a scanner and another to the program behind it.
Section numbers are those of PKWARE's APPNOTE 6.3.10.
"""

import struct

from esdctl.transfer.refusal import refusal
from esdctl.transfer.zip.directory import DESCRIPTOR_FOLLOWS, LOCAL_HEADER_SIZE, Member, read_name
from esdctl.transfer.zip.extra import local_sizes, read_extra
from esdctl.untrusted_text import shown

_HEADER = struct.Struct("<4s5H3L2H")  # 4.3.7
_SIGNATURE = b"PK\3\4"

# 4.3.9: with or without a signature, sizes of 4 or 8 bytes.
_DESCRIPTOR_SIGNATURE = b"PK\7\x08"
_DESCRIPTORS = {12: "<3L", 16: "<4x3L", 20: "<L2Q", 24: "<4xL2Q"}


def local_header_length(start: bytes) -> int:
    """How many bytes a local header says it has; ``check_local_header`` tells if that is true.

    Args:
        start: its first 30 bytes, or more.

    Raises:
        IntegrityError: ``start`` is shorter.
    """
    if len(start) < LOCAL_HEADER_SIZE:
        raise refusal("the archive is cut off in a local header")
    *_, name_length, extra_length = _HEADER.unpack_from(start)
    return LOCAL_HEADER_SIZE + int(name_length) + int(extra_length)


def check_local_header(member: Member, header: bytes) -> int:
    """Compare a local header with the directory.

    Args:
        member: what the directory says.
        header: the archive's bytes from ``member.header_offset``: the whole local header
            (``local_header_length`` tells) or more.

    Returns:
        Where the member's packed bytes begin, counted from ``member.header_offset``. Behind them
        and before ``member.end`` lies the data descriptor alone; see ``check_descriptor``.

    Raises:
        IntegrityError: what differs, with the member.
    """
    title = f"the member {shown(member.name)}"
    if len(header) < LOCAL_HEADER_SIZE:
        raise refusal(f"{title} is cut off in its local header")
    signature, _, flags, method, *_ = _HEADER.unpack_from(header)
    if signature != _SIGNATURE:
        raise refusal(f"{title} has no local header at byte {member.header_offset}")
    if flags != member.flags:
        raise refusal(f"{title} has flags 0x{flags:04x} in its local header, not {member.flags:#x}")
    if method != member.method:
        raise refusal(f"{title} has method {method} in its local header, not {member.method}")
    length = local_header_length(header)
    _check_span(member, length, title)
    if len(header) < length:
        raise refusal(f"{title} is cut off in its local header")
    _check_content(member, header[:length], title)
    return length


def check_descriptor(member: Member, trailer: bytes) -> None:
    """Compare what lies behind a member's packed bytes with the directory.

    Args:
        member: what the directory says.
        trailer: all bytes between the packed ones and ``member.end``; empty without descriptor.

    Raises:
        IntegrityError: another length or other values than the member's.
    """
    title = f"the member {shown(member.name)}"
    _check_trailer_length(member, len(trailer), title)
    if not trailer:
        return
    if len(trailer) in (16, 24) and not trailer.startswith(_DESCRIPTOR_SIGNATURE):
        raise refusal(f"{title} has a data descriptor without its signature")
    described = struct.unpack(_DESCRIPTORS[len(trailer)], trailer)
    if described != (member.crc32, member.compressed, member.size):
        raise refusal(f"{title} has a data descriptor that disagrees with the directory")


def _check_span(member: Member, length: int, title: str) -> None:
    """With a local header of ``length`` bytes the member must end where the next one begins."""
    rest = member.end - member.header_offset - length - member.compressed
    if rest < 0:
        raise refusal(f"{title} overlaps what follows: its local header is too long")
    _check_trailer_length(member, rest, title)


def _check_trailer_length(member: Member, rest: int, title: str) -> None:
    if member.flags & DESCRIPTOR_FOLLOWS:
        if rest not in _DESCRIPTORS:
            raise refusal(f"{title} has {rest} bytes in place of a data descriptor")
    elif rest:
        raise refusal(f"{rest} bytes of junk lie behind {title}")


def _check_content(member: Member, header: bytes, title: str) -> None:
    """Name, extra fields, CRC32 and sizes of a whole local header."""
    crc32, compressed, size, name_length, _ = _HEADER.unpack_from(header)[6:]
    name, extra = (
        header[LOCAL_HEADER_SIZE:][:name_length],
        header[LOCAL_HEADER_SIZE + name_length :],
    )
    if name != member.raw_name:
        local = shown(name.decode("utf-8", "replace"))
        raise refusal(f"{title} has the name {local} in its local header")
    fields = read_extra(extra, title)
    if read_name(name, member.flags, fields, title).removesuffix("/") != member.name:
        raise refusal(f"{title} has another Unicode path field in its local header")
    compressed, size = local_sizes(fields, compressed, size, title)
    claimed = {"CRC32": crc32, "packed size": compressed, "size": size}
    listed = {"CRC32": member.crc32, "packed size": member.compressed, "size": member.size}
    later = bool(member.flags & DESCRIPTOR_FOLLOWS)  # then zero stands for "see the descriptor"
    for what, value in claimed.items():
        if value != listed[what] and (value or not later):
            raise refusal(f"{title} has the {what} {value} in its local header, not {listed[what]}")
