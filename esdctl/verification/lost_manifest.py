"""A manifest that is damaged or missing is written again; the folder's files are not fetched again.

The server's listing tells which files there must be, and for each its size and a digest: CRC32 for
a member of a ZIP, SHA-256 or git's SHA-1 for a file of a repository. Files on disk that agree are
listed with their SHA-256. This also adopts a folder that another program unpacked.
"""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from esdctl.catalog.artifacts import Artifact
from esdctl.errors import InputError
from esdctl.progress import Reporter
from esdctl.storage.lock import target_lock
from esdctl.storage.manifest import FileEntry, Manifest, write_manifest
from esdctl.transfer.options import TransferOptions
from esdctl.transfer.plan import survey_settled
from esdctl.transfer.survey import Found, FoundTree, source_of

_CHUNK = 2**20  # bytes


@dataclass(frozen=True)
class _Listed:
    """A file as the server lists it; a digest that it does not tell is None or ""."""

    path: str
    size: int
    crc32: int | None = None
    sha256: str = ""
    git_sha1: str = ""


def write_manifest_again(
    artifact: Artifact, root: Path, options: TransferOptions, reporter: Reporter
) -> None:
    """Write the manifest of a published folder from the server's listing.

    Raises:
        InputError: a file is missing or differs, so there is more to mend than the manifest; or
            the server lists no files.
        NetworkError, IntegrityError: see ``transfer.survey``.
    """
    target = root / artifact.folder
    with target_lock(target, reporter):
        found = survey_settled(artifact, options, reporter)
        listed = list(_listed(artifact, found))
        task = f"compare {artifact.title} with the server's list"
        reporter.started(task, sum(file.size for file in listed), "bytes")
        entries: list[FileEntry] = []
        for file in listed:
            entries.append(_entry(target, file, artifact))
            reporter.advanced(task, sum(entry.size for entry in entries))
        reporter.finished(task)
        write_manifest(
            target, Manifest(artifact.title, source_of(artifact), found.revision, tuple(entries))
        )


def _listed(artifact: Artifact, found: Found) -> Iterator[_Listed]:
    if isinstance(found, FoundTree):
        for file in found.files:
            yield _Listed(
                file.path, file.facts.size, sha256=file.facts.sha256, git_sha1=file.git_sha1
            )
        return
    if found.contents is None:
        raise InputError(
            f"{artifact.address}: the server lists no files, so the manifest cannot be mended",
            "move the folder away and download it again",
        )
    for member in found.contents.members:
        if member.name in found.contents.places:
            yield _Listed(found.contents.places[member.name], member.size, member.crc32)


def _entry(target: Path, listed: _Listed, artifact: Artifact) -> FileEntry:
    """The entry of a file on disk that is as listed.

    Raises:
        InputError: it is not.
    """
    path = target / listed.path
    if path.is_file() and path.stat().st_size == listed.size:
        crc32, sha256 = 0, hashlib.sha256()
        git_sha1 = hashlib.sha1(b"blob %d\0" % listed.size, usedforsecurity=False)
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                crc32 = zlib.crc32(chunk, crc32)
                sha256.update(chunk)
                git_sha1.update(chunk)
        is_equal = (
            listed.crc32 in (None, crc32)
            and listed.sha256 in ("", sha256.hexdigest())
            and listed.git_sha1 in ("", git_sha1.hexdigest())
        )
        if is_equal:
            return FileEntry(listed.path, listed.size, sha256.hexdigest())
    raise InputError(
        f"{target} has no sound manifest, and {listed.path} is not what the server lists",
        f"move the folder away and fetch {artifact.title} again",
    )
