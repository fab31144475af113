"""What to check of a folder of sampled pictures: each row's file is what it was."""

from pathlib import Path

from esdctl.errors import InputError
from esdctl.storage.atomic import read_jsonl
from esdctl.storage.digest import sha256_file
from esdctl.verification.checks import Check, Report

PICTURE_ROWS = "pictures.jsonl"


def verify_pictures(path: Path) -> Report:
    """Check what ``esdctl sample`` or an evaluation left: a file a row, with the row's sha256."""
    try:
        rows = read_jsonl(path / PICTURE_ROWS)
    except InputError as error:
        check = Check("rows", error.message, "readable", False, PICTURE_ROWS)
        return Report(str(path), path, (check,))
    changed = [str(row.get("file")) for row in rows if not _is_intact(path, row)]
    allowed = "that of the row"
    checks = [Check("sha256", "other bytes or none", allowed, False, file) for file in changed]
    equal = Check("sha256", f"{len(rows)} equal", allowed, True)
    return Report(str(path), path, tuple(checks or [equal]))


def _is_intact(path: Path, row: dict[str, object]) -> bool:
    file = path / str(row.get("file"))
    return file.is_file() and sha256_file(file) == row.get("sha256")
