"""Which bytes are durable: an append-only file beside the staging folder.

The format, on one page. Each line is ``<CRC-32 of the rest, 8 hexadecimal digits> <JSON object>``.

- The first line names the source: ``{"journal": 1, "source": ..., "revision": ...}``. A journal of
  another source or revision is void, and so are the bytes that it speaks of.
- ``{"file": "a/b", "start": 0, "end": 8388608, "crc32": ...}``: these bytes of that file are on the
  disk. ``{"file": "a/b", "size": ..., "sha256": ...}``: the file is complete and was checked.
- ``{"file": "a/b", "unpacked": ..., "crc32": ..., "packed": ..., "packed_end": ...}``: so many
  bytes of that member of an archive are on the disk; they came out of those before ``packed``.
- ``{"file": "a/b", "void": true}``: forget what was said of that file.
- A line is written after the data that it speaks of was synced, and is synced itself. A kill tears
  at most the last line; from the first line that does not match its CRC, the rest is cut off.
- A reader trusts nothing: it reads the bytes again and holds them against CRC-32 or SHA-256.
"""

import json
import os
import queue
import threading
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from esdctl.errors import StorageError
from esdctl.storage.atomic import fsync_file
from esdctl.storage.disk_errors import storage_error
from esdctl.storage.manifest import FileEntry

BLOCK = 2**20
BATCH = 256  # records synced together at most


@dataclass(frozen=True)
class Source:
    """What the durable bytes belong to."""

    source: str
    revision: str


@dataclass(frozen=True)
class DurableRange:
    """Bytes of one file, from ``start`` up to ``end``."""

    start: int
    end: int
    crc32: int


@dataclass(frozen=True)
class MemberMark:
    """How far the unpacking of a member came.

    Args:
        unpacked: bytes of the file that are durable.
        crc32: of those.
        packed: offset in the archive of the first packed byte that was not fed yet.
        packed_end: offset in the archive where the member's packed bytes end.
    """

    unpacked: int
    crc32: int
    packed: int
    packed_end: int


@dataclass
class Known:
    """What a journal tells.

    Args:
        files: complete files, by path.
        ranges: durable ranges of files that are not complete.
        marks: of members that are not complete, the last one each.
        length: bytes of the lines that hold; 0 when the journal is void.
    """

    files: dict[str, FileEntry] = field(default_factory=dict)
    ranges: dict[str, list[DurableRange]] = field(default_factory=dict)
    marks: dict[str, MemberMark] = field(default_factory=dict)
    length: int = 0

    @property
    def size(self) -> int:
        """Durable bytes, if the disk still holds them."""
        whole = sum(entry.size for entry in self.files.values())
        whole += sum(m.unpacked for name, m in self.marks.items() if name not in self.files)
        return whole + sum(
            place.end - place.start
            for name, places in self.ranges.items()
            if name not in self.files
            for place in places
        )

    def take(self, record: dict[str, object]) -> bool:
        """Apply one record; whether it is one."""
        match record:
            case {"file": str(name), "void": True}:
                self.files.pop(name, None)
                self.ranges.pop(name, None)
                self.marks.pop(name, None)
            case {"file": str(name), "size": int(size), "sha256": str(sha256)}:
                self.files[name] = FileEntry(name, size, sha256)
            case {"file": str(name), "start": int(start), "end": int(end), "crc32": int(crc32)}:
                self.ranges.setdefault(name, []).append(DurableRange(start, end, crc32))
            case {
                "file": str(name),
                "unpacked": int(unpacked),
                "crc32": int(crc32),
                "packed": int(packed),
                "packed_end": int(packed_end),
            }:
                self.marks[name] = MemberMark(unpacked, crc32, packed, packed_end)
            case _:
                return False
        return True


@dataclass
class _Commit:
    path: Path | None  # to sync before the line; None when nothing has to be
    line: bytes


class Journal:
    """Records what is durable; one thread syncs behind the writers, several records at a time.

    Args:
        path: the journal; made when it is not there, emptied when it is of another source.
        source: what the transfer fetches.
    """

    def __init__(self, path: Path, source: Source) -> None:
        known = read_journal(path, source)
        self.size = known.size  # durable bytes at the beginning, if the disk still holds them
        self.files = known.files
        self.ranges = known.ranges
        self.marks = known.marks
        self._path = path
        self._failure: BaseException | None = None
        self._queue: queue.SimpleQueue[_Commit | None] = queue.SimpleQueue()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._file.truncate(known.length)
        if known.length == 0:
            self._file.write(_line({"journal": 1, **asdict(source)}))
            os.fsync(self._file.fileno())
        self._thread = threading.Thread(target=self._commit_until_end, daemon=True)
        self._thread.start()

    def note_range(self, path: Path, name: str, place: DurableRange) -> None:
        """Sync ``path``, then record that these bytes of the file ``name`` are durable.

        Raises:
            StorageError: an earlier record could not be made durable.
        """
        self._note(path, {"file": name, **asdict(place)})

    def note_file(self, path: Path, entry: FileEntry) -> None:
        """Sync ``path``, then record that the file is complete and was checked.

        Raises:
            StorageError: as for ``note_range``.
        """
        self.files[entry.path] = entry
        self._note(path, {"file": entry.path, "size": entry.size, "sha256": entry.sha256})

    def note_mark(self, path: Path, name: str, mark: MemberMark) -> None:
        """Sync ``path``, then record how far the unpacking of the member ``name`` came.

        Raises:
            StorageError: as for ``note_range``.
        """
        self.marks[name] = mark
        self._note(path, {"file": name, **asdict(mark)})

    def forget(self, name: str) -> None:
        """Record that nothing is known of the file ``name``."""
        self.files.pop(name, None)
        self.ranges.pop(name, None)
        self.marks.pop(name, None)
        self._note(None, {"file": name, "void": True})

    def close(self) -> None:
        """Make every record durable and close the file.

        Raises:
            StorageError: that failed.
        """
        self._queue.put(None)
        self._thread.join()
        self._file.close()
        self._raise_failure()

    def _note(self, path: Path | None, record: dict[str, object]) -> None:
        self._raise_failure()
        self._queue.put(_Commit(path, _line(record)))

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure = storage_error(self._failure, self._path)
            raise failure or StorageError(f"cannot write {self._path}: {self._failure}")

    def _commit_until_end(self) -> None:
        while (first := self._queue.get()) is not None:
            batch, is_last = [first], False
            with suppress(queue.Empty):
                while len(batch) < BATCH:
                    following = self._queue.get_nowait()
                    if following is None:
                        is_last = True
                        break
                    batch.append(following)
            if self._failure is None:
                try:
                    self._commit(batch)
                except OSError as error:
                    self._failure = error
            if is_last:
                return

    def _commit(self, batch: list[_Commit]) -> None:
        gone: set[Path] = set()  # voided and removed since
        for path in dict.fromkeys(commit.path for commit in batch if commit.path is not None):
            try:
                fsync_file(path)
            except FileNotFoundError:
                gone.add(path)
        lines = b"".join(commit.line for commit in batch if commit.path not in gone)
        written = 0
        while written < len(lines):
            written += self._file.write(lines[written:])
        os.fsync(self._file.fileno())


def read_journal(path: Path, source: Source) -> Known:
    """Read a journal without touching it; nothing is known when it is of another source."""
    known = Known()
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return known
    for line in content.split(b"\n")[:-1]:
        record = _parse(line)
        if record is None:
            break
        if known.length == 0:
            if record != {"journal": 1, **asdict(source)}:
                break
        elif not known.take(record):
            break
        known.length += len(line) + 1
    return known


def holds(path: Path, place: DurableRange) -> bool:
    """Whether the bytes on the disk are still those that were recorded."""
    crc32, left = 0, place.end - place.start
    try:
        with path.open("rb") as file:
            file.seek(place.start)
            while left > 0:
                block = file.read(min(BLOCK, left))
                if not block:
                    return False
                crc32 = zlib.crc32(block, crc32)
                left -= len(block)
    except OSError:
        return False
    return crc32 == place.crc32


def _line(record: dict[str, object]) -> bytes:
    text = json.dumps(record, ensure_ascii=True, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _parse(line: bytes) -> dict[str, object] | None:
    checksum, _, text = line.partition(b" ")
    try:
        if int(checksum, 16) != zlib.crc32(text):
            return None
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
