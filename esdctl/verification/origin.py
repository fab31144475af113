"""Which run a delta or an export was made from: named, told by its place, or by what it says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from esdctl.checkpoints.changes.authors_delta import authors_name, parse_authors_name
from esdctl.checkpoints.changes.delta import read_delta_metadata
from esdctl.erasing.run_folder import RunFolder
from esdctl.errors import InputError
from esdctl.models.named import DELTA_NAME, RECORD_NAME, run_folders, run_path
from esdctl.storage.workspace import Workspace

# What a run's delta says of itself, and an export of it repeats.
_REPEATED = ("base_digest", "concept", "train_method", "settings")


@dataclass(frozen=True)
class Origin:
    """A finished run that something may have been made from.

    Args:
        run: its folder.
        about: its delta's metadata.
    """

    run: Path
    about: Mapping[str, str]

    @property
    def delta(self) -> Path:
        return self.run / DELTA_NAME


def find_origins(
    path: Path, about: Mapping[str, str], workspace: Workspace, named: Path | None = None
) -> list[Origin]:
    """The runs that a delta or an export may have been made from.

    Args:
        path: of the delta or the export.
        about: what it says of itself; may be empty.
        workspace: whose finished runs are asked.
        named: a run by its folder or name; then no other is looked for.

    Returns:
        The named run; else the one whose folder it lies in; else all that say the same of
        themselves. A run is not its own origin.

    Raises:
        InputError: what is named is no finished run, or its delta is damaged.
        UsageError: the beginning of a name is that of several runs.
    """
    if named is not None:
        return [_origin(run_path(named, workspace))]
    if is_of_a_run(path):
        return []
    for folder in path.resolve().parents[:2]:
        if _is_finished_run(folder):
            return [_origin(folder)]
    runs = [_origin(run) for run in run_folders(workspace) if _is_finished_run(run)]
    return [origin for origin in runs if _says_the_same(path, about, origin.about)]


def is_of_a_run(path: Path) -> bool:
    """Whether the path is a run's folder, or the delta in one."""
    folder = path if path.is_dir() else path.parent
    return (folder / RECORD_NAME).is_file() and (folder == path or path.name == DELTA_NAME)


def _origin(run: Path) -> Origin:
    if not _is_finished_run(run):
        raise InputError(f"{run} is no finished run", "give the folder that esdctl train printed")
    return Origin(run, read_delta_metadata(run / DELTA_NAME))


def _is_finished_run(folder: Path) -> bool:
    return (folder / RECORD_NAME).is_file() and RunFolder(folder).is_finished


def _says_the_same(path: Path, about: Mapping[str, str], run: Mapping[str, str]) -> bool:
    if "sum" in about:
        return False
    if about.get("base_digest"):
        return all(_value(about.get(key)) == _value(run.get(key)) for key in _REPEATED)
    if parse_authors_name(path) is None:  # else the name alone tells
        return False
    concept, method = run.get("concept", ""), run.get("train_method", "")
    name = authors_name(concept, run.get("erase_from"), method).file_name()
    return path.stem == Path(name).stem


def _value(text: str | None) -> object:
    """JSON as what it stands for, whose keys may come in any order; other text as it is."""
    try:
        return json.loads(text or "")
    except (ValueError, RecursionError):
        return text
