"""What to check of a downloaded folder: that it is there, whole, sound, and alone."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from esdctl.catalog.artifacts import Artifact, ZipSource
from esdctl.counting import counted
from esdctl.datasets.folders import I2P_TABLE
from esdctl.errors import InputError
from esdctl.progress import Reporter
from esdctl.storage.conversion_cache import traces_beside
from esdctl.storage.digest import sha256_file
from esdctl.storage.manifest import MANIFEST_NAME, FileEntry, Manifest, read_manifest
from esdctl.verification.checks import Check, Report
from esdctl.verification.soundness import (
    fault_of_i2p,
    fault_of_picture,
    fault_of_safetensors,
    is_picture,
)


def verify_artifact(artifact: Artifact, root: Path, deep: bool, reporter: Reporter) -> Report:
    """Check what the catalogue's artifact left in the workspace.

    Args:
        artifact: what should be there.
        root: the workspace's root.
        deep: decode every picture as well.
        reporter: told of the bytes that were hashed.
    """
    folder = root / artifact.folder
    leftovers = _leftovers(folder, _archive_names(artifact))
    if not folder.is_dir():
        found = "a file" if folder.exists() else "missing"
        absent = Check("present", found, "a folder", passed=False)
        failed = (check for check in leftovers if not check.passed)
        return Report(artifact.title, folder, (absent, *failed))
    checks, damaged = _check_against_manifest(folder, artifact.title, reporter)
    checks += _check_named_files(folder, artifact.must_contain)
    checks += _check_soundness(folder, deep)
    return Report(artifact.title, folder, (*checks, *leftovers), damaged)


def is_begun(artifact: Artifact, root: Path) -> bool:
    """Whether the workspace holds the artifact, or the beginning of it."""
    folder = root / artifact.folder
    return folder.exists() or any(not check.passed for check in _leftovers(folder, set()))


def verify_folder(folder: Path, deep: bool, reporter: Reporter) -> Report:
    """Check a folder that no catalogue knows; without a manifest, only that its files are sound.

    Raises:
        InputError: there is no such folder, or nothing in it can be checked.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder", "give a name of the catalogue or a path")
    checks: list[Check] = []
    damaged: tuple[str, ...] = ()
    if (folder / MANIFEST_NAME).exists():
        checks, damaged = _check_against_manifest(folder, str(folder), reporter)
    elif not (folder / "model_index.json").exists():
        why = f"no {MANIFEST_NAME} tells sizes and digests"
        checks.append(Check("manifest", why, "readable", None))
    checks += _check_soundness(folder, deep)
    if all(check.passed is None for check in checks):
        raise InputError(
            f"{folder} holds nothing that can be checked",
            "give a folder that esdctl made, or one with safetensors files",
        )
    return Report(str(folder), folder, tuple(checks), damaged)


def _check_against_manifest(
    folder: Path, name: str, reporter: Reporter
) -> tuple[list[Check], tuple[str, ...]]:
    """The checks, and the files that fetching them again would mend."""
    try:
        manifest = read_manifest(folder)
    except InputError as error:
        damage = error.message.partition(": ")[2] or error.message
        check = Check("manifest", damage, "readable", passed=False, file=MANIFEST_NAME)
        return [check], (MANIFEST_NAME,)
    if manifest is None:
        check = Check("manifest", "missing", "readable", passed=False, file=MANIFEST_NAME)
        return [check], (MANIFEST_NAME,)
    readable = Check("manifest", counted(len(manifest.files), "file"), "readable", passed=True)
    failures = _compare(folder, manifest, name, reporter)
    unexpected = _unexpected(folder, manifest)
    checks = [
        readable,
        *_listed("complete", counted(len(manifest.files), "file"), "every file", failures),
        *_listed("size", counted(manifest.size, "byte"), "that of the manifest", failures),
        *_listed("sha256", "equal", "that of the manifest", failures),
        *_listed("unexpected files", "none", "none", unexpected),
    ]
    return checks, tuple(dict.fromkeys(check.file for check in failures))


def _compare(folder: Path, manifest: Manifest, name: str, reporter: Reporter) -> list[Check]:
    """A failure for each file that is missing, of another size, or of other bytes."""
    task = f"verify {name}"
    reporter.started(task, manifest.size, "bytes")
    done = 0
    failures = []
    for entry in manifest.files:
        failure = _compare_file(folder / entry.path, entry)
        if failure is not None:
            failures.append(failure)
        done += entry.size
        reporter.advanced(task, done)
    reporter.finished(task)
    return failures


def _compare_file(path: Path, entry: FileEntry) -> Check | None:
    def failure(name: str, measured: object, allowed: object) -> Check:
        return Check(name, str(measured), str(allowed), passed=False, file=entry.path)

    if not path.is_file():
        return failure("complete", "no file" if path.exists() else "missing", "a file")
    try:
        size = path.stat().st_size
        if size != entry.size:
            return failure("size", size, entry.size)
        digest = sha256_file(path)
    except (OSError, InputError) as error:
        return failure("sha256", f"unreadable ({error})", entry.sha256)
    return failure("sha256", digest, entry.sha256) if digest != entry.sha256 else None


def _unexpected(folder: Path, manifest: Manifest) -> list[Check]:
    expected = {entry.path for entry in manifest.files} | {MANIFEST_NAME}
    for entry in manifest.files:
        expected.update(traces_beside(entry.path, entry.sha256))
    strangers = [path for path in _files_below(folder) if path not in expected]
    return [
        Check("unexpected files", "present", "none", passed=False, file=path) for path in strangers
    ]


def _check_named_files(folder: Path, must_contain: Iterable[str]) -> list[Check]:
    """What the catalogue names must be there, whatever the manifest lists."""
    missing = [name for name in must_contain if not (folder / name).is_file()]
    failures = [Check("named files", "missing", "a file", passed=False, file=m) for m in missing]
    return list(_listed("named files", "present", "present", failures)) if must_contain else []


def _check_soundness(folder: Path, deep: bool) -> list[Check]:
    """Whether files are what their names say."""
    names = list(_files_below(folder))
    weights = [name for name in names if name.endswith(".safetensors")]
    checks = _faults("safetensors headers", folder, weights, fault_of_safetensors)
    if I2P_TABLE in names:
        checks += _faults("I2P table", folder, [I2P_TABLE], fault_of_i2p)
    if deep:
        pictures = [name for name in names if is_picture(Path(name))]
        checks += _faults("pictures", folder, pictures, fault_of_picture)
    return checks


def _faults(
    name: str, folder: Path, files: Sequence[str], fault_of: Callable[[Path], str]
) -> list[Check]:
    failures = [
        Check(name, fault, "sound", passed=False, file=file)
        for file in files
        if (fault := fault_of(folder / file))
    ]
    return list(_listed(name, f"{len(files)} sound", "sound", failures)) if files else []


def _listed(name: str, measured: str, allowed: str, failures: Sequence[Check]) -> Iterator[Check]:
    """The failures of this name; a passed check when there is none."""
    mine = [check for check in failures if check.name == name]
    if mine:
        yield from mine
    else:
        yield Check(name, measured, allowed, passed=True)


def _archive_names(artifact: Artifact) -> set[str]:
    """Names under which an unpacked ZIP may have been left."""
    own = f"{artifact.folder.rpartition('/')[2]}.zip"
    if not isinstance(artifact.source, ZipSource):
        return {own}
    return {own, artifact.source.url.partition("?")[0].rpartition("/")[2]}


def _leftovers(folder: Path, archives: set[str]) -> list[Check]:
    """A failure for each ZIP or staging folder beside the published one."""
    beside = sorted(path.name for path in folder.parent.glob("*"))
    staging = f".{folder.name}."
    failures = [
        Check("leftovers", "present", "none", passed=False, file=f"../{name}")
        for name in beside
        if name in archives or (name.startswith(staging) and not name.endswith(".lock"))
    ]
    return list(_listed("leftovers", "none", "none", failures))


def _files_below(folder: Path) -> Iterator[str]:
    """Every file, and every link to a folder, relative to ``folder`` with ``/``, sorted."""
    found = []
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if Path(place, name).is_symlink()]
        found += [Path(place, name).relative_to(folder).as_posix() for name in (*files, *links)]
    return iter(sorted(found))
