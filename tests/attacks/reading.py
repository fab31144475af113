"""Read a ZIP in memory by the rules, as the transfer engine reads it from a server."""

from esdctl.transfer.zip.rules import (
    TAIL_SIZE,
    Limits,
    Member,
    check_descriptor,
    check_local_header,
    find_directory,
    local_header_length,
    read_directory,
)


def read_archive(data: bytes, limits: Limits = Limits()) -> tuple[Member, ...]:  # noqa: B008
    """Apply every rule to an archive; nothing is unpacked."""
    place = find_directory(data[-TAIL_SIZE:], len(data), limits)
    directory = data[place.offset : place.offset + place.size]
    members = read_directory(directory, place, len(data), limits)
    for member in members:
        header = data[member.header_offset : member.end]
        start = check_local_header(member, header[: local_header_length(header)])
        check_descriptor(member, header[start + member.compressed :])
    return members
