"""What a download would do: what, how large, where, how much disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from esdctl.catalog.artifacts import Artifact
from esdctl.errors import NetworkError
from esdctl.progress import Reporter
from esdctl.storage.disk_space import free_disk
from esdctl.storage.manifest import FileEntry, Manifest
from esdctl.transfer.client import Http
from esdctl.transfer.journal import Known, read_journal
from esdctl.transfer.options import TransferOptions
from esdctl.transfer.remote_file import SourceChanged
from esdctl.transfer.staging import Staging, read_manifest_or_none
from esdctl.transfer.survey import Found, FoundZip, journal_source, source_of, survey

MAX_CHANGES = 3  # of the source while one transfer looks at it


@dataclass(frozen=True)
class TransferPlan:
    """What ``fetch`` will do.

    Args:
        target: the folder that will be published.
        bytes_to_move: over the network; what an earlier try kept is not counted.
        unpacked: bytes of all files in the folder; 0 when the server does not tell before.
        files: their number; 0 when the server does not tell before.
        free_disk: free bytes on the target's disk.
        peak_disk: bytes that the transfer occupies at most.
        is_finished: the folder is there and complete; nothing will be asked for.
        found: what the server has; None when nothing was asked.
    """

    artifact: Artifact
    target: Path
    bytes_to_move: int
    unpacked: int
    files: int
    free_disk: int
    peak_disk: int
    is_finished: bool
    found: Found | None = field(default=None, repr=False)

    def document(self) -> dict[str, object]:
        """The plan as ``--dry-run --json`` prints it."""
        return {
            "name": self.artifact.title,
            "source": source_of(self.artifact),
            "target": str(self.target),
            "bytes_to_move": self.bytes_to_move,
            "unpacked": self.unpacked,
            "files": self.files,
            "free_disk": self.free_disk,
            "peak_disk": self.peak_disk,
            "is_finished": self.is_finished,
        }


def plan_transfer(
    artifact: Artifact, root: Path, options: TransferOptions, reporter: Reporter
) -> TransferPlan:
    """Look at the disk and, unless the artifact is complete there, at the server.

    Raises:
        IntegrityError, InputError, NetworkError: see ``survey``.
    """
    target = root / artifact.folder
    manifest = own_manifest(artifact, target)
    if manifest is not None and not missing_files(target, manifest):
        return TransferPlan(
            artifact, target, 0, manifest.size, len(manifest.files), free_disk(target), 0, True
        )
    found = survey_settled(artifact, options, reporter)
    return _plan(artifact, target, found)


def survey_settled(
    artifact: Artifact, options: TransferOptions, reporter: Reporter, revision: str = ""
) -> Found:
    """Survey, and again when the source changes meanwhile.

    Raises:
        NetworkError: it changes again and again; and as ``survey``.
    """
    for _ in range(MAX_CHANGES):
        try:
            with Http(options, reporter) as http:
                return survey(http, artifact, revision)
        except SourceChanged:
            reporter.notice(f"{artifact.title} changed at the server; looking again")
    raise NetworkError(f"{artifact.address} changes all the time", "try again later")


def own_manifest(artifact: Artifact, target: Path) -> Manifest | None:
    """The manifest in ``target``, if it is of this very source."""
    manifest = read_manifest_or_none(target)
    return manifest if manifest and manifest.source == source_of(artifact) else None


def missing_files(target: Path, manifest: Manifest) -> Sequence[FileEntry]:
    """The files that are not there, or not of their size; their bytes are not read."""

    def is_there(entry: FileEntry) -> bool:
        path = target / entry.path
        try:
            return path.is_file() and path.stat().st_size == entry.size
        except OSError:
            return False

    return [entry for entry in manifest.files if not is_there(entry)]


def _plan(artifact: Artifact, target: Path, found: Found) -> TransferPlan:
    known = read_journal(Staging(target).journal, journal_source(artifact, found))
    if isinstance(found, FoundZip):
        contents, size = found.contents, found.facts.size
        unpacked = contents.unpacked if contents else 0
        files = len(contents.places) if contents else 0
        peak = unpacked if contents else 2 * size  # the archive, and about as much unpacked
        to_move = max(0, size - _packed(found, known))
    else:
        unpacked = peak = sum(file.facts.size for file in found.files)
        files = len(found.files)
        to_move = max(0, unpacked - known.size)
    return TransferPlan(
        artifact, target, to_move, unpacked, files, free_disk(target), peak, False, found
    )


def _packed(found: FoundZip, known: Known) -> int:
    """Bytes of the archive whose members are complete already, or half-unpacked."""
    if found.contents is None:
        return 0
    packed = 0
    for member in found.contents.members:
        name = found.contents.places.get(member.name)
        if name in known.files:
            packed += member.end - member.header_offset
        elif name in known.marks:
            packed += known.marks[name].packed - member.header_offset
    return packed
