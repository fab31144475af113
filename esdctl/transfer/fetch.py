"""From a plan to a published folder: resumed, verified, visible only when complete."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from esdctl.catalog.artifacts import Artifact, ZipSource
from esdctl.errors import EsdctlError, InputError, IntegrityError, NetworkError, StorageError
from esdctl.progress import Reporter
from esdctl.storage.disk_errors import guard_disk
from esdctl.storage.lock import target_lock
from esdctl.storage.manifest import FileEntry, Manifest
from esdctl.transfer.byte_progress import ByteProgress
from esdctl.transfer.client import Http
from esdctl.transfer.journal import Journal
from esdctl.transfer.options import TransferOptions
from esdctl.transfer.plan import (
    MAX_CHANGES,
    TransferPlan,
    missing_files,
    own_manifest,
    survey_settled,
)
from esdctl.transfer.ranges import fetch_files
from esdctl.transfer.remote_file import NoRanges, RemoteFile, SourceChanged
from esdctl.transfer.staging import Staging, check_replaceable, check_space
from esdctl.transfer.survey import Found, FoundTree, FoundZip, journal_source, source_of
from esdctl.transfer.whole_archive import fetch_archive
from esdctl.transfer.zip.remote import unpack, unpack_and_prove


@dataclass(frozen=True)
class _Transfer:
    """One transfer: what, from where, by way of which folder."""

    artifact: Artifact
    staging: Staging
    options: TransferOptions
    reporter: Reporter

    def survey(self, revision: str = "") -> Found:
        return survey_settled(self.artifact, self.options, self.reporter, revision)


def fetch(
    plan: TransferPlan, options: TransferOptions, reporter: Reporter, *, refresh: bool = False
) -> Path:
    """Carry out a plan.

    A kill at any moment leaves the target as it was; the next call continues after the last durable
    byte. Files that are missing from a published folder are fetched again, alone.

    Args:
        refresh: ask the server also when the folder is complete, and replace it by a newer one.

    Returns:
        The published folder, with its manifest inside.

    Raises:
        IntegrityError: the bytes are not what they should be; nothing is kept.
        InputError: something that is not ours is in the target's place.
        NetworkError: the server does not give it; what came is kept for the next try.
        StorageError: the disk is full or not writable; what came is kept.
    """
    artifact, target = plan.artifact, plan.target
    staging = Staging(target)
    transfer = _Transfer(artifact, staging, options, reporter)
    with target_lock(target, reporter), guard_disk(target):
        staging.recover()
        manifest = own_manifest(artifact, target)
        if manifest is not None and not refresh:
            missing = [entry.path for entry in missing_files(target, manifest)]
            if missing:
                transfer = replace(transfer, staging=Staging(target, "repair"))
                _repair(transfer, manifest, missing, plan.found)
            else:
                staging.discard()
                reporter.notice(f"{artifact.title}: already complete in {target}")
            return target
        found = plan.found or transfer.survey()
        if manifest is not None and manifest.revision == found.revision:
            reporter.notice(f"{artifact.title}: the server has nothing newer than {target}")
            return target
        check_replaceable(target)
        _fetch_all(transfer, found)
        return target


def repair(
    artifact: Artifact,
    root: Path,
    damaged: Sequence[str],
    options: TransferOptions,
    reporter: Reporter,
) -> None:
    """Fetch single files of a published folder again, and put them in place, each atomically.

    Args:
        damaged: paths as the manifest has them.

    Raises:
        IntegrityError: the server has other bytes now than the manifest tells.
        InputError: there is no manifest, or it does not list such a file.
        NetworkError, StorageError: as ``fetch``.
    """
    target = root / artifact.folder
    with target_lock(target, reporter), guard_disk(target):
        manifest = own_manifest(artifact, target)
        if manifest is None:
            raise InputError(
                f"{target} has no sound manifest of {artifact.title}",
                "move the folder away and download it again",
            )
        staging = Staging(target, "repair")
        _repair(_Transfer(artifact, staging, options, reporter), manifest, damaged, None)


def _fetch_all(transfer: _Transfer, found: Found) -> None:
    """Transfer and publish; begin again when the source changes meanwhile."""
    artifact, staging = transfer.artifact, transfer.staging
    for _ in range(MAX_CHANGES):
        try:
            entries = _transfer(transfer, found)
        except SourceChanged:
            transfer.reporter.warning(
                f"{artifact.title} changed at the server while it was fetched; starting again"
            )
            staging.discard()
            found = transfer.survey()
        else:
            staging.publish(
                Manifest(artifact.title, source_of(artifact), found.revision, tuple(entries))
            )
            return
    raise NetworkError(f"{artifact.address} changes all the time", "try again later")


def _repair(
    transfer: _Transfer, manifest: Manifest, damaged: Sequence[str], found: Found | None
) -> None:
    artifact, staging = transfer.artifact, transfer.staging
    target = staging.target
    listed = {entry.path: entry for entry in manifest.files}
    for name in damaged:
        if name not in listed:
            raise InputError(f"{target} should not hold {name}", "move it away")
    if not damaged:
        return
    revision = "" if isinstance(artifact.source, ZipSource) else manifest.revision
    if found is None or revision not in ("", found.revision):
        found = transfer.survey(revision)
    try:
        entries = _transfer(transfer, found, set(damaged))
    except SourceChanged as error:
        staging.discard()
        raise NetworkError(f"{artifact.address} changed at the server", "try again") from error
    fetched = {entry.path: entry for entry in entries}
    for name in damaged:
        if fetched.get(name) != listed[name]:
            staging.discard()
            raise IntegrityError(
                f"the server has another {name} now than the one in {target}",
                "download it again with --refresh",
            )
    staging.replace_in_target(damaged)


def _transfer(
    transfer: _Transfer, found: Found, only: Collection[str] | None = None
) -> list[FileEntry]:
    """Bring every wanted file into the staging folder; returns what is there then."""
    with _keeping(transfer.staging):
        if isinstance(found, FoundTree):
            return _transfer_tree(transfer, found, only)
        try:
            return _transfer_zip(transfer, found, only)
        except NoRanges:
            address = transfer.artifact.address
            transfer.reporter.warning(f"{address}: no byte ranges; reading it from its beginning")
            return _transfer_zip(transfer, replace(found, contents=None), only)


def _transfer_tree(
    transfer: _Transfer, found: FoundTree, only: Collection[str] | None
) -> list[FileEntry]:
    staging = transfer.staging
    wanted = [file for file in found.files if only is None or file.path in only]
    total = sum(file.facts.size for file in wanted)
    check_space(staging.target, total - staging.size())
    with _working(transfer, found, total) as (http, journal, progress):
        fetch_files(http, wanted, staging.folder, journal, progress)
        return [journal.files[file.path] for file in wanted]


def _transfer_zip(
    transfer: _Transfer, found: FoundZip, only: Collection[str] | None
) -> list[FileEntry]:
    staging, options, on_disk = transfer.staging, transfer.options, None
    if found.contents is None:
        on_disk, found = fetch_archive(
            transfer.artifact, found, staging, options, transfer.reporter
        )
    contents = found.contents
    assert contents is not None  # an archive on the disk is read whole
    places = {name for name in contents.places.values() if only is None or name in only}
    wanted = [m for m in contents.members if contents.places.get(m.name) in places]
    unpacked = sum(member.size for member in wanted)
    total = sum(member.end - member.header_offset for member in wanted)
    check_space(staging.target, unpacked - staging.size())
    with _working(transfer, found, total) as (http, journal, progress):
        source = on_disk or RemoteFile(http, found.url, found.facts)
        if options.proof == "whole" and only is None and on_disk is None:
            unpack_and_prove(
                http, source, contents, staging.folder, journal, progress, found.facts.sha256
            )
        else:
            unpack(http, source, contents, staging.folder, journal, progress, only)
        return [journal.files[name] for name in places]


@contextmanager
def _working(
    transfer: _Transfer, found: Found, total: int
) -> Iterator[tuple[Http, Journal, ByteProgress]]:
    """Client, journal and progress of one transfer; the journal is durable afterwards."""
    artifact, staging, reporter = transfer.artifact, transfer.staging, transfer.reporter
    staging.folder.mkdir(parents=True, exist_ok=True)
    progress = ByteProgress(reporter, artifact.title, total)
    with Http(transfer.options, reporter) as http, closing(progress):
        journal = Journal(staging.journal, journal_source(artifact, found))
        if kept := journal.size:
            reporter.notice(f"{artifact.title}: checking {kept:,} bytes that an earlier try kept")
        try:
            yield http, journal, progress
        except BaseException:
            with suppress(StorageError):
                journal.close()
            raise
        journal.close()


@contextmanager
def _keeping(staging: Staging) -> Iterator[None]:
    """Keep what came for the next try, and say so; nothing is kept of what is wrong."""
    try:
        yield
    except IntegrityError as error:
        staging.discard()
        hint = "the file at the server is damaged, or something between changes it; nothing is kept"
        raise IntegrityError(error.message, error.hint or hint) from error
    except (NetworkError, StorageError) as error:
        raise _with_what_is_kept(error, staging) from error


def _with_what_is_kept(error: EsdctlError, staging: Staging) -> EsdctlError:
    kept = staging.size()
    if not kept:
        return error
    hint = f"{kept:,} bytes are kept in {staging.folder}; the same command continues there"
    return type(error)(error.message, f"{error.hint}; {hint}" if error.hint else hint)
