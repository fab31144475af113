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
from esdctl.verification.checks import Report
from esdctl.verification.pictures import PICTURE_ROWS, verify_pictures
from esdctl.verification.runs import is_finished, verify_run, verify_weights


@dataclass(frozen=True)
class Target:
    """One thing to verify.

    Args:
        path: a folder, or a safetensors file.
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


def verify_target(target: Target, deep: bool, reporter: Reporter) -> Report:
    """Check one target; ``deep`` decodes every picture as well.

    Raises:
        InputError: nothing about it can be checked.
    """
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
    return _with_erasure(report, target, reporter)


def _with_erasure(report: Report, target: Target, reporter: Reporter) -> Report:
    """Add what a sound run, delta or export says of its erasure, held against its base."""
    if not report.passed or (target.path / PICTURE_ROWS).is_file():
        return report
    from esdctl.erasing.run_folder import RunFolder, open_run
    from esdctl.verification.erasure import (
        check_erasure,
        check_log,
        check_provenance,
        is_ours,
    )

    checks = list(report.checks)
    if (target.path / RECORD_NAME).exists():
        _, record = open_run(target.path)
        checks.append(check_provenance(record))
        checks.append(check_log(RunFolder(target.path), record))
    is_model = any((target.path / name).exists() for name in (RECORD_NAME, "model_index.json"))
    if is_model or (target.path.is_file() and is_ours(target.path)):
        checks += check_erasure(target.path, Workspace(target.root), reporter)
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
    if path.is_file() and path.suffix != ".safetensors":
        raise InputError(
            f"{path} is no safetensors file", "give the folder that it lies in, or a name"
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
