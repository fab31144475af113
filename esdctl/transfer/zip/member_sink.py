"""Members that lie one behind another in a ZIP: their bytes go where each of them belongs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from esdctl.errors import IntegrityError
from esdctl.transfer.journal import MemberMark
from esdctl.transfer.zip.inflate import Mark, MemberFile
from esdctl.transfer.zip.resumption import Resumption
from esdctl.transfer.zip.rules import (
    Member,
    check_descriptor,
    check_local_header,
    local_header_length,
)

LOCAL_HEADER_START = 30


class Unpacking(Protocol):
    """What a ``MemberSink`` asks and tells."""

    def path_of(self, member: Member) -> Path | None:
        """Where a member is written; None when it is not wanted, or complete already."""

    def moved(self, member: Member, count: int) -> None:
        """``count`` packed bytes of the member arrived; negative when they are void."""

    def reached(self, member: Member, path: Path, mark: MemberMark) -> None:
        """So much of the member is written, and right as far as can be told."""

    def completed(self, member: Member, path: Path, size: int, sha256: str) -> None:
        """The member is written and right."""


class MemberSink:
    """Takes the bytes of members that lie one behind another in the archive.

    Args:
        members: in the archive's order.
        unpacking: where they go, and who is told.
        resumption: where the first member is entered, if not at its beginning.
    """

    def __init__(
        self,
        members: Sequence[Member],
        unpacking: Unpacking,
        resumption: Resumption | None = None,
    ) -> None:
        self._members = iter(members)
        self._unpacking = unpacking
        self._file: MemberFile | None = None
        self._moved: dict[str, tuple[Member, int]] = {}  # to take back when the bytes are void
        self._next_member()
        if resumption is not None:
            self._enter(members[0], resumption)

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

    def _enter(self, member: Member, resumption: Resumption) -> None:
        """Begin in the middle of a member whose header was checked by an earlier run."""
        self._position = resumption.position
        self._packed_end = resumption.packed_end
        path = self._unpacking.path_of(member)
        if path is not None:
            self._file = MemberFile(member, path, self._mark(member, path), resumption)

    def _mark(self, member: Member, path: Path) -> Mark:
        return lambda unpacked, crc32, packed: self._unpacking.reached(
            member, path, MemberMark(unpacked, crc32, packed, self._packed_end)
        )

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
                self._file.feed(part, self._position)
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
        path = self._unpacking.path_of(member)
        if path is not None:
            self._file = MemberFile(member, path, self._mark(member, path))

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
