"""Where a transfer works before its result is visible: a hidden folder beside the target."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from esdctl.errors import InputError, StorageError
from esdctl.storage.atomic import fsync_folder
from esdctl.storage.disk_errors import guard_disk
from esdctl.storage.disk_space import free_disk
from esdctl.storage.manifest import MANIFEST_NAME, Manifest, read_manifest, write_manifest


class Staging:
    """The hidden things beside a target; they outlive a kill, and vanish when all is done.

    Args:
        target: the folder to publish.
        purpose: part of the hidden names, so that a repair and a download do not mix.
    """

    def __init__(self, target: Path, purpose: str = "staging") -> None:
        target = target.resolve() if target.is_symlink() else target  # the result lies there
        self.target = target
        self.folder = target.with_name(f".{target.name}.{purpose}")
        self.journal = target.with_name(f".{target.name}.{purpose}.journal")
        self.archive_folder = target.with_name(f".{target.name}.{purpose}.archive")
        self._old = target.with_name(f".{target.name}.{purpose}.old")

    def size(self) -> int:
        """Bytes on the disk that a next try can build on."""
        total = 0
        for place in (self.folder, self.archive_folder):
            for folder, _, files in os.walk(place):
                total += sum(Path(folder, name).lstat().st_blocks * 512 for name in files)
        return total

    def discard(self) -> None:
        """Remove everything; the journal first, since it speaks of the rest."""
        self.journal.unlink(missing_ok=True)
        for place in (self.folder, self.archive_folder, self._old):
            shutil.rmtree(place, ignore_errors=True)

    def recover(self) -> None:
        """Put the old folder back when a kill came between the two renames of ``publish``."""
        if self._old.exists() and not self.target.exists():
            self._old.rename(self.target)

    def publish(self, manifest: Manifest) -> None:
        """Make the folder visible under its final name, complete and durable.

        Raises:
            StorageError: the disk is full, or something else is at the target.
        """
        with guard_disk(self.target):
            _remove_strays(self.folder, {entry.path for entry in manifest.files})
            write_manifest(self.folder, manifest)
            for folder, _, _ in os.walk(self.folder, topdown=False):
                fsync_folder(Path(folder))
            shutil.rmtree(self._old, ignore_errors=True)
            if read_manifest_or_none(self.target) is not None:
                self.target.rename(self._old)
            self.folder.rename(self.target)
            fsync_folder(self.target.parent)
            self.discard()

    def replace_in_target(self, names: Collection[str]) -> None:
        """Put single files in place of those of the target, each atomically."""
        with guard_disk(self.target):
            for name in names:
                place = self.target / name
                place.parent.mkdir(parents=True, exist_ok=True)
                (self.folder / name).replace(place)
                fsync_folder(place.parent)
            self.discard()


def check_space(target: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        StorageError: with both numbers.
    """
    free = free_disk(target)
    if needed > free:
        raise StorageError(
            f"{target} needs {needed:,} bytes of disk, {free:,} are free",
            "free some space or choose a folder on another disk with --root",
        )


def check_replaceable(target: Path) -> None:
    """Refuse to publish over what is not ours.

    Raises:
        InputError: ``target`` is a file, or holds files that no manifest lists.
    """
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir():
        raise InputError(f"{target} is not a folder", "move it away")
    manifest = read_manifest_or_none(target)
    listed = {entry.path for entry in manifest.files} if manifest else set()
    for folder, _, files in os.walk(target):
        for name in files:
            path = Path(folder, name).relative_to(target).as_posix()
            if path != MANIFEST_NAME and path not in listed:
                raise InputError(
                    f"{target} holds {path}, which no download of esdctl put there",
                    "move the folder away, or choose another --root; if another program put the "
                    "same download there, `esdctl verify --repair` checks and adopts it",
                )


def read_manifest_or_none(target: Path) -> Manifest | None:
    """The manifest of a folder; None when it has none, or a damaged one."""
    try:
        return read_manifest(target)
    except InputError:
        return None


def _remove_strays(staging: Path, listed: Collection[str]) -> None:
    """Remove what an earlier try left half-done and this one did not need."""
    for folder, _, files in os.walk(staging, topdown=False):
        for name in files:
            path = Path(folder, name)
            if path.relative_to(staging).as_posix() not in listed:
                path.unlink()
