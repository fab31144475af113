"""What to check of a run folder or a file of weights: digests, record, delta, sheet."""

from pathlib import Path

from esdctl.errors import EsdctlError, InputError
from esdctl.storage.digest import sha256_file
from esdctl.storage.manifest import MANIFEST_NAME, FileEntry, read_manifest
from esdctl.verification.checks import Check, Report
from esdctl.verification.soundness import fault_of_picture, fault_of_safetensors


def verify_run(path: Path) -> Report:
    """Check what ``esdctl train`` left behind."""
    from esdctl.erasing.run_folder import RunFolder, open_run

    run = RunFolder(path)
    record: dict[str, object] = {}
    try:
        _, record = open_run(path)
        fault = ""
    except InputError as error:
        fault = error.message
    checks = [_check("record", fault, "readable", run.record), *_sealed_files(path)]
    if not run.is_finished:
        unfinished = "the run is not finished"
        checks.append(_check("delta", unfinished, "sound", run.delta))
        return Report(str(path), path, tuple(checks))
    checks.append(_check("delta", _fault_of_delta(run.delta, record), "sound", run.delta))
    if run.contact_sheet.is_file():
        fault = fault_of_picture(run.contact_sheet)
        checks.append(_check("contact sheet", fault, "sound", run.contact_sheet))
    return Report(str(path), path, tuple(checks))


def is_finished(path: Path) -> bool:
    """Whether a run has all that it will have."""
    from esdctl.erasing.run_folder import RunFolder

    return RunFolder(path).is_finished


def _sealed_files(path: Path) -> list[Check]:
    """Whether each file is still what the run left; one that is not finished has no manifest."""
    try:
        manifest = read_manifest(path)
    except InputError as error:
        return [_check("manifest", error.message, "readable", path / MANIFEST_NAME)]
    if manifest is None:
        return []
    changed = [entry for entry in manifest.files if not _is_intact(path / entry.path, entry)]
    if not changed:
        return [Check("sha256", "equal", "that of the manifest", True, "")]
    return [
        Check("sha256", "other bytes or none", "that of the manifest", False, entry.path)
        for entry in changed
    ]


def _is_intact(path: Path, entry: FileEntry) -> bool:
    return (
        path.is_file() and path.stat().st_size == entry.size and sha256_file(path) == entry.sha256
    )


def verify_weights(path: Path) -> Report:
    """Check that one file of weights can be read: safetensors, or a pickle, which runs nothing."""
    from esdctl.checkpoints.tensor_file import peek_tensors

    if path.suffix == ".safetensors":
        fault = fault_of_safetensors(path)
        check = Check("safetensors headers", fault or "sound", "sound", not fault)
        return Report(str(path), path, (check,))
    try:
        peek_tensors(path)
        fault = ""
    except EsdctlError as error:
        fault = error.message
    return Report(str(path), path, (_check("checkpoint", fault, "readable", path),))


def _fault_of_delta(path: Path, record: dict[str, object]) -> str:
    """What is wrong with a run's delta: header, metadata, base, or a value that is not finite."""
    import torch

    from esdctl.checkpoints.changes.delta import read_delta, read_delta_metadata

    fault = fault_of_safetensors(path)
    if fault:
        return fault
    try:
        metadata = read_delta_metadata(path)
    except InputError as error:
        return error.message
    base = record.get("base")
    if isinstance(base, dict) and metadata.get("base_digest") != base.get("sha256"):
        return "made from another base than the record says"
    wild = [name for name, value in read_delta(path).items() if not torch.isfinite(value).all()]
    return f"{wild[0]} holds a value that is not finite" if wild else ""


def _check(name: str, fault: str, allowed: str, file: Path) -> Check:
    return Check(name, fault or allowed, allowed, not fault, file.name)
