"""Whether a run's delta is still what the run left: its sha256 stands in the run's manifest."""

from pathlib import Path

from esdctl.errors import InputError, IntegrityError
from esdctl.storage.digest import sha256_file
from esdctl.storage.manifest import Manifest, read_manifest


def check_sealed(delta: Path) -> None:
    """Refuse a file that the manifest beside it lists with another sha256.

    A file without a manifest beside it, or not listed there, is anybody's own: nothing to check.

    Raises:
        IntegrityError: the file was changed after the run sealed it, or the manifest itself is
            damaged.
    """
    folder = delta.parent
    try:
        manifest = read_manifest(folder)
    except InputError as error:
        raise IntegrityError(
            f"{error.message}, so {delta.name} cannot be checked", _what_to_do(folder)
        ) from error
    if manifest is not None and _differs(delta, manifest):
        raise IntegrityError(f"{delta} is not what the run left", _what_to_do(folder))


def _differs(delta: Path, manifest: Manifest) -> bool:
    listed = {entry.path: entry for entry in manifest.files}.get(delta.name)
    return listed is not None and (
        delta.stat().st_size != listed.size or sha256_file(delta) != listed.sha256
    )


def _what_to_do(folder: Path) -> str:
    return f"esdctl verify {folder} tells what differs; take a copy that is sound, or train again"
