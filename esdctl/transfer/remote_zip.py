"""A remote ZIP: its directory first, then its members, inflated as they arrive."""

import hashlib
import os
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from esdctl.errors import IntegrityError
from esdctl.storage.disk_errors import guard_disk
from esdctl.storage.manifest import FileEntry
from esdctl.transfer.http import Http
from esdctl.transfer.inflate import MemberSink
from esdctl.transfer.journal import Journal
from esdctl.transfer.meter import Meter
from esdctl.transfer.segments import (
    LARGEST_SEGMENT,
    ByteSource,
    Interval,
    Sink,
    stream_intervals,
)
from esdctl.transfer.zip_rules import TAIL_SIZE, Member, check_names, find_directory, read_directory

WORKERS = 4  # threads that inflate, at most; fewer on fewer cores


@dataclass(frozen=True)
class ZipContents:
    """What a ZIP's directory tells.

    Args:
        members: in the archive's order.
        places: member's name -> path below the target; folders have none.
    """

    members: tuple[Member, ...]
    places: dict[str, str]

    @property
    def unpacked(self) -> int:
        """Bytes of all members."""
        return sum(member.size for member in self.members)


def read_contents(source: ByteSource, strip: str) -> ZipContents:
    """Read the directory by its own ranges, and refuse hostile archives.

    Args:
        source: the archive.
        strip: its top folder that is not kept; members outside of it stay where they are.

    Raises:
        IntegrityError: see ``zip_rules``.
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
    meter: Meter,
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
    unpacking = _Unpacking(contents, folder, journal, meter, only)
    with guard_disk(folder):
        unpacking.keep_what_is_intact()
        intervals = [
            Interval(group[0].header_offset, group[-1].end, _SinkMaker(group, unpacking))
            for group in _groups(contents.members, unpacking)
        ]
        stream_intervals(http, source, intervals, _workers())


def unpack_and_prove(
    http: Http,
    source: ByteSource,
    contents: ZipContents,
    folder: Path,
    journal: Journal,
    meter: Meter,
    sha256: str,
) -> None:
    """As ``unpack``, and every byte of the archive is hashed in order while it passes.

    The bytes of members that are complete from an earlier run are fetched again for the digest,
    and not inflated: nothing else tells what they were.

    Raises:
        IntegrityError: the archive's SHA-256 is not ``sha256``; and as ``unpack``.
    """
    unpacking = _Unpacking(contents, folder, journal, meter, None)

    def new_sink() -> Sink:
        return _ProvingSink(MemberSink(contents.members, unpacking), sha256)

    with guard_disk(folder):
        unpacking.keep_what_is_intact(is_moved=False)
        stream_intervals(http, source, [Interval(0, source.size, new_sink)], 1)


class _Unpacking:
    """Where members go, and what is known of them."""

    def __init__(
        self,
        contents: ZipContents,
        folder: Path,
        journal: Journal,
        meter: Meter,
        only: Collection[str] | None,
    ) -> None:
        self._contents = contents
        self._folder = folder
        self._journal = journal
        self._meter = meter
        self._only = only
        self._kept: set[str] = set()

    def keep_what_is_intact(self, is_moved: bool = True) -> None:
        """Check what an earlier run completed; ``is_moved``: and count it as moved."""
        for member in self._contents.members:
            name = self._contents.places.get(member.name, "")
            entry = self._journal.files.get(name)
            if entry is None:
                continue
            if entry.size == member.size and _is_member(self._folder / name, entry, member):
                self._kept.add(name)
                if is_moved:
                    self._meter.keep(member.end - member.header_offset)
            else:
                self._journal.forget(name)

    def place_of(self, member: Member) -> Path | None:
        if not self.is_wanted(member):
            return None
        name = self._contents.places[member.name]
        self._meter.begin(name, member.end - member.header_offset)
        return self._folder / name

    def is_wanted(self, member: Member) -> bool:
        name = self._contents.places.get(member.name)
        is_asked_for = name is not None and (self._only is None or name in self._only)
        return is_asked_for and name not in self._kept

    def moved(self, member: Member, count: int) -> None:
        self._meter.add(self._contents.places.get(member.name, ""), count)

    def completed(self, member: Member, path: Path, size: int, sha256: str) -> None:
        name = self._contents.places[member.name]
        self._journal.note_file(path, FileEntry(name, size, sha256))
        self._kept.add(name)
        self._meter.end(name)


class _SinkMaker:
    """Makes the sink of one group of members."""

    def __init__(self, members: Sequence[Member], unpacking: _Unpacking) -> None:
        self._members = members
        self._unpacking = unpacking

    def __call__(self) -> Sink:
        return MemberSink(self._members, self._unpacking)


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


def _groups(members: Sequence[Member], unpacking: _Unpacking) -> Iterator[list[Member]]:
    """Neighbours that fit in one segment are fetched in one request; folders only between them."""
    group: list[Member] = []
    for member in members:
        is_wanted = unpacking.is_wanted(member) or (member.is_folder and bool(group))
        if group and (not is_wanted or member.end - group[0].header_offset > LARGEST_SEGMENT):
            yield group
            group = []
        if is_wanted:
            group.append(member)
    if group:
        yield group


def _is_member(path: Path, entry: FileEntry, member: Member) -> bool:
    """Whether a file is what was recorded of it, and what the archive holds today."""
    sha256, crc32 = hashlib.sha256(), 0
    try:
        if path.is_symlink() or path.stat().st_size != member.size:
            return False
        with path.open("rb") as file:
            while block := file.read(2**20):
                sha256.update(block)
                crc32 = zlib.crc32(block, crc32)
    except OSError:
        return False
    return sha256.hexdigest() == entry.sha256 and crc32 == member.crc32


def _workers() -> int:
    return max(1, min(WORKERS, os.cpu_count() or 1))


def _read(source: ByteSource, start: int, end: int) -> bytes:
    content = bytearray()
    with closing(source.read(start, end)) as chunks:
        for chunk in chunks:
            content += chunk
    return bytes(content)
