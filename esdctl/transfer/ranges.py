"""Parallel byte ranges: whole files to disk, each range checked, journalled and hashed."""

import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from esdctl.errors import IntegrityError
from esdctl.storage.digest import sha256_file
from esdctl.storage.disk_errors import guard_disk
from esdctl.storage.manifest import FileEntry
from esdctl.transfer.byte_progress import ByteProgress
from esdctl.transfer.client import Http
from esdctl.transfer.journal import DurableRange, Journal, holds
from esdctl.transfer.partial_file import PartialFile
from esdctl.transfer.remote_file import Facts, NoRanges, RemoteFile
from esdctl.transfer.thread_group import run_threads

PIECE = 32 * 2**20  # bytes of one request; less at the end, so that connections end together
SMALLEST_PIECE = 2**20
CHECKPOINT = 8 * 2**20  # bytes after which a range is made durable
TRIES = 2  # of a file whose digest is wrong


@dataclass(frozen=True)
class WantedFile:
    """One file to fetch.

    Args:
        path: below the staging folder.
        url: where it is.
        facts: its size, and what else is known.
        git_sha1: of git's blob, or "".
    """

    path: str
    url: str
    facts: Facts
    git_sha1: str = ""


@dataclass(eq=False)
class _Download:
    wanted: WantedFile
    remote: RemoteFile
    partial: PartialFile
    gaps: Sequence[tuple[int, int]]
    workers: int = 0
    is_sequential: bool = False  # the server ignores Range
    is_concluded: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


def fetch_files(
    http: Http, wanted: Sequence[WantedFile], folder: Path, journal: Journal, progress: ByteProgress
) -> None:
    """Fetch files into ``folder``, continuing what the journal and the disk agree on.

    Raises:
        IntegrityError: a file's digest is wrong, twice.
        NetworkError: the retry budget is spent, or the server refuses for good.
        SourceChanged: the server has another file now.
        StorageError: the disk is full or not writable.
    """
    _FileFetch(http, wanted, folder, journal, progress).run()


class _FileFetch:
    def __init__(
        self,
        http: Http,
        wanted: Sequence[WantedFile],
        folder: Path,
        journal: Journal,
        progress: ByteProgress,
    ) -> None:
        self._http = http
        self._folder = folder
        self._journal = journal
        self._progress = progress
        self._wanted = wanted
        self._left = 0  # bytes that no connection has
        self._kept: dict[str, list[tuple[int, int]]] = {}  # of files that are not complete
        self._lock = threading.Lock()
        self._jobs = self._all_jobs()
        self._open: list[_Download] = []

    def run(self) -> None:
        connections = self._http.options.connections
        try:
            with guard_disk(self._folder):
                self._wanted = [file for file in self._wanted if not self._is_complete(file)]
                run_threads(self._http, [self._work] * connections)
        finally:
            for download in self._open:
                download.partial.close()

    def _work(self) -> None:
        while (job := self._next_job()) is not None:
            download, start, end = job
            try:
                if not download.is_sequential:
                    self._fetch_range(download, start, end)
            except NoRanges:
                download.is_sequential = True
            if self._is_last(download):
                self._conclude(download)

    def _next_job(self) -> tuple[_Download, int, int] | None:
        with self._lock:
            job = next(self._jobs, None)
            if job is not None:
                with job[0].lock:
                    job[0].workers += 1
            return job

    def _all_jobs(self) -> Iterator[tuple[_Download, int, int]]:
        for wanted in self._wanted:
            download = self._begin(wanted)
            for start, end in download.gaps or [(wanted.facts.size, wanted.facts.size)]:
                while True:
                    fair = max(SMALLEST_PIECE, self._left // self._http.options.connections)
                    middle = min(end, start + min(PIECE, fair))
                    yield download, start, middle
                    self._left -= middle - start
                    start = middle
                    if start >= end:
                        break

    def _is_complete(self, wanted: WantedFile) -> bool:
        """Check what an earlier try kept of a file; whether that is all of it."""
        path = self._folder / wanted.path
        entry = self._journal.files.get(wanted.path)
        if entry is not None:
            if is_intact(path, entry):
                self._progress.keep(wanted.facts.size)
                return True
            self._journal.forget(wanted.path)
        kept = trusted_ranges(path, self._journal.ranges.get(wanted.path, ()))
        self._kept[wanted.path] = kept
        self._progress.keep(_length(kept))
        self._left += wanted.facts.size - _length(kept)
        return False

    def _begin(self, wanted: WantedFile) -> _Download:
        """Open a file at what is trusted of it."""
        path, size = self._folder / wanted.path, wanted.facts.size
        kept = self._kept.pop(wanted.path)
        self._progress.begin(wanted.path, size, _length(kept))
        partial = PartialFile(path, size, kept, bool(wanted.git_sha1))
        remote = RemoteFile(self._http, wanted.url, wanted.facts)
        download = _Download(wanted, remote, partial, _gaps(kept, size))
        self._open.append(download)
        return download

    def _fetch_range(self, download: _Download, start: int, end: int) -> None:
        """Stream one range to its place; a part of it becomes durable every few MiB."""
        name, partial = download.wanted.path, download.partial
        position, mark, crc32 = start, start, 0
        with closing(download.remote.read(start, end)) as chunks:
            for chunk in chunks:
                partial.write(position, chunk)
                crc32 = zlib.crc32(chunk, crc32)
                position += len(chunk)
                self._progress.add(name, len(chunk))
                if position - mark >= CHECKPOINT or position == end:
                    place = DurableRange(mark, position, crc32)
                    if download.wanted.facts.size > CHECKPOINT:
                        self._journal.note_range(partial.path, name, place)
                    partial.mark(mark, position)
                    mark, crc32 = position, 0

    def _is_last(self, download: _Download) -> bool:
        """Whether the calling thread, which leaves the file, is the one to conclude it."""
        with download.lock:
            download.workers -= 1
            if download.workers or download.is_concluded:
                return False
            if not (download.is_sequential or download.partial.is_complete):
                return False
            download.is_concluded = True
            return True

    def _conclude(self, download: _Download) -> None:
        wanted = download.wanted
        if download.is_sequential:
            self._fetch_alone(download)
        for attempt in range(1, TRIES + 1):
            sha256, git_sha1 = download.partial.digests()
            expected = wanted.facts.sha256
            if sha256 == (expected or sha256) and git_sha1 == wanted.git_sha1:
                break
            self._journal.forget(wanted.path)
            if attempt == TRIES:
                raise IntegrityError(
                    f"{wanted.path}: the bytes that came do not have the digest "
                    f"{expected or wanted.git_sha1}",
                    "the server or something between changes them; try another network",
                )
            self._fetch_alone(download)
        download.partial.close()
        self._open.remove(download)
        entry = FileEntry(wanted.path, wanted.facts.size, sha256)
        self._journal.note_file(download.partial.path, entry)
        self._progress.end(wanted.path)

    def _fetch_alone(self, download: _Download) -> None:
        """Read the whole file in one stream; no other thread works on it any more."""
        wanted, position = download.wanted, 0

        def restart() -> None:
            nonlocal position
            download.partial.close()
            download.partial = PartialFile(
                self._folder / wanted.path, wanted.facts.size, (), bool(wanted.git_sha1)
            )
            position = 0

        with closing(download.remote.read_from_start(restart)) as chunks:
            for chunk in chunks:
                download.partial.write(position, chunk)
                download.partial.mark(position, position + len(chunk))
                position += len(chunk)


def is_intact(path: Path, entry: FileEntry) -> bool:
    """Whether a file on the disk is what was recorded of it."""
    try:
        if path.is_symlink() or path.stat().st_size != entry.size:
            return False
        return sha256_file(path) == entry.sha256
    except OSError:
        return False


def trusted_ranges(path: Path, recorded: Sequence[DurableRange]) -> list[tuple[int, int]]:
    """The recorded ranges whose bytes are still there: sorted, disjoint, as large as possible."""
    merged: list[tuple[int, int]] = []
    for place in sorted(recorded, key=lambda place: (place.start, -place.end)):
        if merged and place.start < merged[-1][1]:
            continue
        if not holds(path, place):
            continue
        if merged and place.start == merged[-1][1]:
            merged[-1] = (merged[-1][0], place.end)
        else:
            merged.append((place.start, place.end))
    return merged


def _length(ranges: Sequence[tuple[int, int]]) -> int:
    return sum(end - start for start, end in ranges)


def _gaps(kept: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    gaps, position = [], 0
    for start, end in (*kept, (size, size)):
        if start > position:
            gaps.append((position, start))
        position = end
    return gaps
