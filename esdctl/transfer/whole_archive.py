"""For a server without byte ranges: the archive goes to the disk first, then is unpacked."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from esdctl.catalog.artifacts import Artifact, ZipSource
from esdctl.progress import Reporter
from esdctl.transfer.byte_progress import ByteProgress
from esdctl.transfer.client import Http
from esdctl.transfer.journal import Journal
from esdctl.transfer.options import TransferOptions
from esdctl.transfer.ranges import WantedFile, fetch_files
from esdctl.transfer.staging import Staging, check_space
from esdctl.transfer.survey import FoundZip, check_contents, journal_source
from esdctl.transfer.zip.remote import read_contents

ARCHIVE = "archive.zip"
BLOCK = 2**20


class ArchiveOnDisk:
    """A ``ByteSource`` on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    def read(self, start: int, end: int) -> Generator[bytes, None, None]:
        with self._path.open("rb") as file:
            file.seek(start)
            while start < end:
                block = file.read(min(BLOCK, end - start))
                if not block:
                    raise OSError(f"{self._path} became shorter")
                start += len(block)
                yield block


def fetch_archive(
    artifact: Artifact,
    found: FoundZip,
    staging: Staging,
    options: TransferOptions,
    reporter: Reporter,
) -> tuple[ArchiveOnDisk, FoundZip]:
    """Fetch the archive to the disk, check its digest, and read its directory.

    Raises:
        IntegrityError: the digest is wrong, or the archive is hostile.
        NetworkError, StorageError, SourceChanged: as ``fetch_files``.
    """
    assert isinstance(artifact.source, ZipSource)
    size = found.facts.size
    wanted = WantedFile(ARCHIVE, found.url, found.facts)
    check_space(staging.target, size - staging.size())
    journal = Journal(staging.archive_folder / "journal", journal_source(artifact, found))
    progress = ByteProgress(reporter, f"{artifact.title} (archive)", size)
    with Http(options, reporter) as http, closing(progress), closing(journal):
        fetch_files(http, [wanted], staging.archive_folder, journal, progress)
    source = ArchiveOnDisk(staging.archive_folder / ARCHIVE)
    contents = read_contents(source, artifact.source.strip)
    check_contents(artifact, contents)
    return source, replace(found, contents=contents)
