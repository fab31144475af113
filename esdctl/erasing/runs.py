"""The runs of a workspace: what was erased here, and removing one. Loads no torch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from esdctl.erasing.run_folder import RunFolder, open_run, planned_steps
from esdctl.errors import InputError, UsageError
from esdctl.models.named import RECORD_NAME, run_folders, run_path
from esdctl.progress import Reporter
from esdctl.storage.atomic import remove_folder
from esdctl.storage.disk_space import size_of_folder
from esdctl.storage.lock import target_lock
from esdctl.storage.workspace import Workspace


@dataclass(frozen=True)
class Summary:
    """A run in one row.

    Args:
        name, path: of its folder.
        concept, template: what is erased, and as what kind.
        base: the model it is erased from, by name.
        base_sha256: that model's digest.
        train_method: which parameters move.
        time: when it began, ISO 8601, UTC.
        steps, iterations: what is done, and the most that is asked for.
        is_finished: whether the delta is there.
        bytes: on disk, checkpoints included.
    """

    name: str
    path: str
    concept: str
    template: str
    base: str
    base_sha256: str
    train_method: str
    time: str
    steps: int
    iterations: int
    is_finished: bool
    bytes: int

    def document(self) -> dict[str, object]:
        """As a JSON document."""
        return asdict(self)


def list_runs(workspace: Workspace, reporter: Reporter) -> list[Summary]:
    """The runs below ``outputs/runs``, the newest last; a damaged one is named on the reporter."""
    found = []
    for folder in run_folders(workspace):
        try:
            found.append(summarise(folder))
        except InputError as error:
            reporter.warning(f"{folder.name} is left out: {error.message}")
    return sorted(found, key=lambda run: (run.time, run.name))


def summarise(path: Path) -> Summary:
    """One run's row.

    Raises:
        InputError: the folder is no run, or its record is damaged.
    """
    run, record = open_run(path)
    settings, concept, base, origin = (
        _mapping(record.get(key)) for key in ("settings", "concept", "base", "provenance")
    )
    return Summary(
        name=path.name,
        path=str(path),
        concept=str(concept.get("name", "")),
        template=str(concept.get("template", "")),
        base=str(base.get("name", "")),
        base_sha256=str(base.get("sha256", "")),
        train_method=str(settings.get("train_method", "")),
        time=str(origin.get("time", "")),
        steps=run.steps() if run.log.is_file() else 0,
        iterations=planned_steps(record) or 0,
        is_finished=run.is_finished,
        bytes=size_of_folder(path),
    )


def find_removable(names: Sequence[str], workspace: Workspace) -> list[Path]:
    """The run folders that names and paths mean, each once.

    Raises:
        InputError: one is no run folder.
        UsageError: a name means several runs, is a link, or another run stands on one of them.
    """
    paths = list(dict.fromkeys(run_path(Path(name), workspace) for name in names))
    for path in paths:
        if path.is_symlink():
            raise UsageError(f"{path} is a link", f"name what it leads to: {path.resolve()}")
        if not (path / RECORD_NAME).is_file():
            raise InputError(f"{path} is no run folder", "`esdctl runs` lists those of a workspace")
    going = {path.resolve() for path in paths}
    for other in run_folders(workspace):
        base = _base_of(other)
        if other.resolve() not in going and base is not None and base.resolve().parent in going:
            raise UsageError(
                f"{other.name} was erased from {base.parent.name} and needs it",
                f"remove {other.name} as well, or keep both",
            )
    return paths


def remove_run(path: Path, reporter: Reporter) -> None:
    """Remove a run folder; a link in it goes, what it leads to stays.

    Raises:
        StorageError: the disk is read-only or not writable.
    """
    with target_lock(path, reporter):
        remove_folder(path)
    path.with_name(f".{path.name}.lock").unlink(missing_ok=True)


def _base_of(run: Path) -> Path | None:
    """The delta that a run's base is, where it is one."""
    try:
        name = _mapping(open_run(run)[1].get("base")).get("name")
    except InputError:
        return None
    return Path(str(name)) if str(name).endswith(RunFolder(run).delta.name) else None


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
