"""Where the members of a ZIP go, and which of them, or how much, an earlier run left."""

import hashlib
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from esdctl.storage.manifest import FileEntry
from esdctl.transfer.byte_progress import ByteProgress
from esdctl.transfer.journal import Journal, MemberMark
from esdctl.transfer.segments import ByteSource
from esdctl.transfer.zip.inflate import new_inflater
from esdctl.transfer.zip.resumption import Resumption, resume_member
from esdctl.transfer.zip.rules import Member


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


class ZipUnpacking:
    """Tells a ``MemberSink`` where members go, and keeps what is known of them."""

    def __init__(
        self,
        contents: ZipContents,
        folder: Path,
        journal: Journal,
        progress: ByteProgress,
        only: Collection[str] | None,
    ) -> None:
        self._contents = contents
        self._folder = folder
        self._journal = journal
        self._progress = progress
        self._only = only
        self._kept: set[str] = set()
        self._resumptions: dict[str, Resumption] = {}

    def keep_intact_files(self, is_moved: bool = True) -> None:
        """Check what an earlier run completed; ``is_moved``: and count it as moved."""
        for member in self._contents.members:
            name = self._contents.places.get(member.name, "")
            entry = self._journal.files.get(name)
            if entry is None:
                continue
            if entry.size == member.size and _is_member(self._folder / name, entry, member):
                self._kept.add(name)
                if is_moved:
                    self._progress.keep(member.end - member.header_offset)
            else:
                self._journal.forget(name)

    def resume_half_unpacked(self, source: ByteSource) -> None:
        """Find where the members go on that an earlier run left half-done."""
        for member in self._contents.members:
            name = self._contents.places.get(member.name, "")
            mark = self._journal.marks.get(name)
            if mark is None or not self.is_wanted(member):
                continue
            path = self._folder / name
            resumption = resume_member(source, path, mark, bool(member.method), new_inflater)
            if resumption is None:
                self._journal.forget(name)
            else:
                self._resumptions[member.name] = resumption
                self._progress.keep(resumption.position - member.header_offset)

    def resumption_of(self, member: Member) -> Resumption | None:
        """Where a member goes on; None when it begins anew."""
        return self._resumptions.get(member.name)

    def restart_member(self, member: Member) -> None:
        """What is on the disk of a half-done member is void."""
        resumption = self._resumptions.pop(member.name, None)
        if resumption is not None:
            self._progress.arrive(member.header_offset - resumption.position)
        name = self._contents.places.get(member.name, "")
        if name in self._journal.marks:
            self._journal.forget(name)

    def path_of(self, member: Member) -> Path | None:
        if not self.is_wanted(member):
            return None
        name = self._contents.places[member.name]
        resumption = self.resumption_of(member)
        done = resumption.position - member.header_offset if resumption else 0
        self._progress.begin(name, member.end - member.header_offset, done)
        return self._folder / name

    def is_wanted(self, member: Member) -> bool:
        name = self._contents.places.get(member.name)
        is_asked_for = name is not None and (self._only is None or name in self._only)
        return is_asked_for and name not in self._kept

    def moved(self, member: Member, count: int) -> None:
        self._progress.unpack(self._contents.places.get(member.name, ""), count)

    def reached(self, member: Member, path: Path, mark: MemberMark) -> None:
        self._journal.note_mark(path, self._contents.places[member.name], mark)

    def completed(self, member: Member, path: Path, size: int, sha256: str) -> None:
        name = self._contents.places[member.name]
        self._journal.note_file(path, FileEntry(name, size, sha256))
        self._kept.add(name)
        self._progress.end(name)


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
