"""A remote ZIP: its directory first, then its members, inflated as they arrive."""

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from esdctl.errors import IntegrityError
from esdctl.storage.disk_errors import guard_disk
from esdctl.transfer.byte_progress import ByteProgress
from esdctl.transfer.client import Http
from esdctl.transfer.journal import Journal
from esdctl.transfer.segments import LARGEST_SEGMENT, ByteSource, Interval, Sink, stream_intervals
from esdctl.transfer.zip.member_sink import MemberSink
from esdctl.transfer.zip.rules import TAIL_SIZE, Member, check_names, find_directory, read_directory
from esdctl.transfer.zip.unpacking import ZipContents, ZipUnpacking

WORKERS = 4  # threads that inflate, at most; fewer on fewer cores


def read_contents(source: ByteSource, strip: str) -> ZipContents:
    """Read the directory by its own ranges, and refuse hostile archives.

    Args:
        source: the archive.
        strip: its top folder that is not kept; members outside of it stay where they are.

    Raises:
        IntegrityError: see ``zip.rules``.
    """
    total = source.size
    start = max(0, total - TAIL_SIZE)
    tail = _read(source, start, total)
    place = find_directory(tail, total)
    if place.offset >= start:
        data = tail[place.offset - start : place.offset - start + place.size]
    else:
        data = _read(source, place.offset, place.offset + place.size)
    members = read_directory(data, place, total)
    top = f"{strip}/" if strip else ""
    places = {
        member.name: member.name.removeprefix(top) for member in members if not member.is_folder
    }
    check_names(places.values())
    return ZipContents(members, places)


def unpack(
    http: Http,
    source: ByteSource,
    contents: ZipContents,
    folder: Path,
    journal: Journal,
    progress: ByteProgress,
    only: Collection[str] | None = None,
) -> None:
    """Unpack the members into ``folder``; those that the journal knows are checked and kept.

    Args:
        only: paths below the target that are wanted; None for all.

    Raises:
        IntegrityError: a member is not what the directory says, twice.
        NetworkError, NoRanges, SourceChanged: as ``RemoteFile.read``.
        StorageError: the disk is full or not writable.
    """
    unpacking = ZipUnpacking(contents, folder, journal, progress, only)
    with guard_disk(folder):
        unpacking.keep_intact_files()
        unpacking.resume_half_unpacked(source)
        groups = list(_groups(contents.members, unpacking))
        intervals = [Interval(group[-1].end, _Beginning(group, unpacking)) for group in groups]
        total = sum(group[-1].end - group[0].header_offset for group in groups)
        stream_intervals(http, source, intervals, total, progress.arrive, _workers())


def unpack_and_prove(
    http: Http,
    source: ByteSource,
    contents: ZipContents,
    folder: Path,
    journal: Journal,
    progress: ByteProgress,
    sha256: str,
) -> None:
    """As ``unpack``, and every byte of the archive is hashed in order while it passes.

    The bytes of members that are complete from an earlier run are fetched again for the digest,
    and not inflated: nothing else tells what they were.

    Raises:
        IntegrityError: the archive's SHA-256 is not ``sha256``; and as ``unpack``.
    """
    unpacking = ZipUnpacking(contents, folder, journal, progress, None)

    def begin() -> tuple[int, Sink]:
        return 0, _ProvingSink(MemberSink(contents.members, unpacking), sha256)

    with guard_disk(folder):
        unpacking.keep_intact_files(is_moved=False)
        whole = [Interval(source.size, begin)]
        stream_intervals(http, source, whole, source.size, progress.arrive, 1)


class _Beginning:
    """Where one group of members begins: first where an earlier run left it, then at its start."""

    def __init__(self, members: Sequence[Member], unpacking: ZipUnpacking) -> None:
        self._members = members
        self._unpacking = unpacking
        self._is_first = True

    def __call__(self) -> tuple[int, Sink]:
        if not self._is_first:
            for member in self._members:
                self._unpacking.restart_member(member)
        self._is_first = False
        resumption = self._unpacking.resumption_of(self._members[0])
        start = resumption.position if resumption else self._members[0].header_offset
        return start, MemberSink(self._members, self._unpacking, resumption)


class _ProvingSink:
    """Hashes the whole archive on its way to the members."""

    def __init__(self, members: MemberSink, expected: str) -> None:
        self._members = members
        self._expected = expected
        self._sha256 = hashlib.sha256()

    def feed(self, data: memoryview) -> None:
        self._sha256.update(data)
        self._members.feed(data)

    def finish(self) -> None:
        self._members.finish()
        found = self._sha256.hexdigest()
        if found != self._expected:
            raise IntegrityError(
                f"the archive's sha256 is {found}, the server tells {self._expected}"
            )

    def abandon(self) -> None:
        self._members.abandon()


def _groups(members: Sequence[Member], unpacking: ZipUnpacking) -> Iterator[list[Member]]:
    """Neighbours that fit in one segment are fetched in one request; folders only between them."""
    group: list[Member] = []
    for member in members:
        is_wanted = unpacking.is_wanted(member) or (member.is_folder and bool(group))
        is_full = bool(group) and member.end - group[0].header_offset > LARGEST_SEGMENT
        if group and (not is_wanted or is_full or unpacking.resumption_of(member)):
            yield group
            group = []
        if is_wanted:
            group.append(member)
    if group:
        yield group


def _workers() -> int:
    return max(1, min(WORKERS, os.cpu_count() or 1))


def _read(source: ByteSource, start: int, end: int) -> bytes:
    content = bytearray()
    with closing(source.read(start, end)) as chunks:
        for chunk in chunks:
            content += chunk
    return bytes(content)
