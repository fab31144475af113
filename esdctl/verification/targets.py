"""From what a user names, or from all that lies in the workspace, to what is verified."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from esdctl.catalog.artifacts import (
    HUB_FOLDER,
    HUB_PREFIX,
    PIPELINE_FILES,
    Artifact,
    Catalog,
    hub_artifact,
)
from esdctl.errors import InputError, UsageError
from esdctl.models.named import RECORD_NAME, run_folders, run_path
from esdctl.progress import Reporter
from esdctl.storage.manifest import MANIFEST_NAME, read_manifest
from esdctl.storage.workspace import Workspace
from esdctl.verification.artifacts import is_begun, verify_artifact, verify_folder
from esdctl.verification.checks import Check, Report
from esdctl.verification.pictures import PICTURE_ROWS, verify_pictures
from esdctl.verification.runs import is_finished, verify_run, verify_weights

_WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
_MODEL_MARKS = (RECORD_NAME, "model_index.json")  # in a folder
_MODEL_KINDS = ("model", "delta", "LoRA", "authors' delta", "U-Net of a pipeline folder")


@dataclass(frozen=True)
class Target:
    """One thing to verify.

    Args:
        path: a folder, or a file of weights.
        artifact: what the catalogue says of it; None when it says nothing.
        root: of the workspace that the artifact lies in.
    """

    path: Path
    artifact: Artifact | None = None
    root: Path = Path()

    @property
    def name(self) -> str:
        return self.artifact.title if self.artifact else str(self.path)

    def document(self) -> dict[str, object]:
        """The target as a JSON document."""
        return {"name": self.name, "path": str(self.path)}


def find_targets(names: Sequence[str], catalog: Catalog, workspace: Workspace) -> list[Target]:
    """Find what to verify.

    Args:
        names: of the catalogue, of runs, or paths; none means all that the workspace holds, but
            the runs that are not finished.
        catalog: the known artifacts.
        workspace: where they lie.

    Raises:
        InputError: nothing is named, and the workspace holds nothing.
        UsageError: a name is neither in the catalogue nor a path.
    """
    if names:
        found = (target for name in names for target in _named(name, catalog, workspace))
        return list(dict.fromkeys(found))
    everything = (*catalog.artifacts, *_from_hub(workspace))
    targets = [_target(a, workspace.root) for a in everything if is_begun(a, workspace.root)]
    targets += [
        Target(run, root=workspace.root) for run in run_folders(workspace) if is_finished(run)
    ]
    if not targets:
        raise InputError(
            f"the workspace {workspace.root} holds no download and no finished run",
            "esdctl download --list tells what there is; --root names another workspace",
        )
    return targets


def unfinished_runs(workspace: Workspace) -> list[Path]:
    """The runs of the workspace that are under way, or were interrupted."""
    return [run for run in run_folders(workspace) if not is_finished(run)]


def verify_target(
    target: Target, deep: bool, reporter: Reporter, run: Path | None = None
) -> Report:
    """Check one target.

    Args:
        target: what ``find_targets`` found.
        deep: decode every picture as well.
        reporter: told of the bytes that were hashed.
        run: what a delta or an export was made from; else it is looked for.

    Raises:
        InputError: nothing about it can be checked, or ``run`` is no finished run.
        UsageError: ``run`` is named for what is made from no run.
    """
    is_made = target.artifact is None and not (target.path / PICTURE_ROWS).is_file()
    if run is not None and not is_made:
        raise UsageError(f"--run is {run}, but {target.name} is made from no run", "leave it out")
    if target.artifact is not None:
        return verify_artifact(target.artifact, target.root, deep, reporter)
    if target.path.is_file():
        report = verify_weights(target.path)
    elif (target.path / RECORD_NAME).exists():
        report = verify_run(target.path)
    elif (target.path / PICTURE_ROWS).is_file():
        report = verify_pictures(target.path)
    else:
        report = verify_folder(target.path, deep, reporter)
    return _with_erasure(report, target, reporter, run) if is_made else report


def _with_erasure(report: Report, target: Target, reporter: Reporter, run: Path | None) -> Report:
    """Add what a sound run, delta or export says of its erasure, held against base and run."""
    if not report.passed:
        return report
    from esdctl.checkpoints.layouts.inspection import inspect
    from esdctl.erasing.run_folder import RunFolder, open_run
    from esdctl.verification.erasure import check_erasure
    from esdctl.verification.training_log import check_log, check_provenance

    checks = list(report.checks)
    if (target.path / RECORD_NAME).exists():
        _, record = open_run(target.path)
        checks.append(check_provenance(record))
        checks.append(check_log(RunFolder(target.path), record))
    kind = inspect(target.path).kind if target.path.is_file() else ""
    if any((target.path / name).exists() for name in _MODEL_MARKS) or kind in _MODEL_KINDS:
        checks += check_erasure(target.path, Workspace(target.root), reporter, run)
    elif kind:
        checks.append(Check("erasure", f"it holds {kind}", "a model or a change of one", None))
    elif run is not None:
        raise UsageError(f"--run is {run}, but {target.name} is no model", "leave it out")
    return replace(report, checks=tuple(checks))


def _named(name: str, catalog: Catalog, workspace: Workspace) -> Iterator[Target]:
    if name.startswith(HUB_PREFIX):
        yield _target(hub_artifact(name), workspace.root)
        return
    try:
        variants = catalog.variants(name)
    except UsageError as unknown:
        found = _at_path(run_path(Path(name), workspace), catalog, unknown)
        yield found if found.artifact else replace(found, root=workspace.root)
        return
    begun = [artifact for artifact in variants if is_begun(artifact, workspace.root)]
    for artifact in begun or variants[:1]:
        yield _target(artifact, workspace.root)


def _at_path(path: Path, catalog: Catalog, unknown: UsageError) -> Target:
    if not path.exists():
        raise UsageError(f"{unknown.message}, and there is no such path", unknown.hint)
    whole = path.resolve()
    for place in (whole, *whole.parents):
        target = _at_folder(place, catalog)
        if target is not None and (place == whole or (place / MANIFEST_NAME).exists()):
            return target
    if path.is_file() and path.suffix not in _WEIGHTS:
        raise InputError(
            f"{path} is no file of weights ({', '.join(_WEIGHTS)})",
            "give the folder that it lies in, or a name",
        )
    return Target(path)


def _at_folder(folder: Path, catalog: Catalog) -> Target | None:
    """The artifact whose place in some workspace is this folder."""
    for artifact in (*catalog.artifacts, *_hub_folder(folder)):
        tail = PurePosixPath(artifact.folder).parts
        if folder.parts[-len(tail) :] == tail:
            return _target(artifact, folder.parents[len(tail) - 1])
    return None


def _target(artifact: Artifact, root: Path) -> Target:
    path = root / artifact.folder
    return Target(path, _as_fetched(artifact, path), root)


def _as_fetched(artifact: Artifact, folder: Path) -> Artifact:
    """A model of the hub with the --include that it was fetched with.

    Its manifest's source ends with the globs: ``OWNER/NAME (model), only *.json *.bin``.
    """
    if not artifact.name.startswith(HUB_PREFIX):
        return artifact
    try:
        manifest = read_manifest(folder)
    except InputError:  # damaged, which verifying will tell
        return artifact
    globs = manifest.source.partition(", only ")[2].split() if manifest else []
    return artifact if tuple(globs) in ((), PIPELINE_FILES) else hub_artifact(artifact.name, globs)


def _from_hub(workspace: Workspace) -> Iterator[Artifact]:
    """The hub's models that the workspace holds."""
    for folder in sorted((workspace.root / HUB_FOLDER).glob("[!.]*")):
        yield from _hub_folder(folder)


def _hub_folder(folder: Path) -> Iterator[Artifact]:
    """The artifact of a folder ``models/hub/OWNER--NAME``; nothing for another one."""
    if folder.as_posix().endswith(f"{HUB_FOLDER}/{folder.name}") and "--" in folder.name:
        try:
            yield hub_artifact(HUB_PREFIX + folder.name.replace("--", "/"))
        except UsageError:
            return
