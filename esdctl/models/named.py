"""What a user may call a model or a run, by name or by a name's beginning. Loads no torch."""

from pathlib import Path

from esdctl.catalog.artifacts import HUB_FOLDER, HUB_PREFIX
from esdctl.errors import UsageError
from esdctl.names import nearest
from esdctl.storage.user_path import user_path
from esdctl.storage.workspace import Workspace

POCKET = Path(__file__).parent.parent / "pocket" / "weights"
EMBEDDED = {"pocket": POCKET, "pocket-flow": POCKET.with_name("flow_weights")}
DELTA_NAME = "delta.safetensors"
RECORD_NAME = "run.json"  # its presence makes a folder a run
COMPVIS = Path("compvis", "style50", "compvis.ckpt")  # below the workspace's models
DIFFUSER = Path("diffuser", "style50")

_SHOWN = 8  # names in a hint


def default_model(workspace: Workspace) -> str:
    """The base that ``train`` uses when none is named: ``compvis``, ``diffuser``, else pocket."""
    if (workspace.models / COMPVIS).is_file():
        return "compvis"
    return "diffuser" if (workspace.models / DIFFUSER / "model_index.json").is_file() else "pocket"


def run_folders(workspace: Workspace) -> list[Path]:
    """The runs below ``outputs/runs``, finished or not, by name; links are not followed."""
    folder = workspace.outputs / "runs"
    runs = folder.iterdir() if folder.is_dir() else ()
    return sorted(run for run in runs if not run.is_symlink() and (run / RECORD_NAME).is_file())


def find_run(name: str, workspace: Workspace) -> Path | None:
    """The run of the workspace that a name means: its folder's name, or a beginning of it alone.

    Args:
        name: ``Rust-xattn-1a2b3c4d``, or ``Rust`` where one run begins so; case does not count.
        workspace: whose ``outputs/runs`` is searched.

    Returns:
        The run's folder; None where no run is called so.

    Raises:
        UsageError: several runs begin so; says which.
    """
    runs = run_folders(workspace)
    for run in runs:
        if run.name == name:
            return run
    wanted = name.casefold()
    found = [run for run in runs if wanted and run.name.casefold().startswith(wanted)]
    if len(found) > 1:
        raise UsageError(
            f"{name!r} is the beginning of {len(found)} runs",
            f"name one of them: {_listed([run.name for run in found])}",
        )
    return found[0] if found else None


def run_path(path: Path, workspace: Workspace) -> Path:
    """A run's folder from its path or its short name; a path that is neither stays as it is.

    Raises:
        UsageError: several runs begin so.
    """
    expanded = user_path(path)
    found = None if expanded.exists() else find_run(str(path), workspace)
    return found or expanded


def known_models(workspace: Workspace) -> list[str]:
    """The names that ``--model`` takes here: what is embedded or downloaded, then the runs."""
    names = list(EMBEDDED)
    if (workspace.models / COMPVIS).is_file():
        names.append("compvis")
    if (workspace.models / DIFFUSER / "model_index.json").is_file():
        names.append("diffuser")
    folders = sorted((workspace.root / HUB_FOLDER).glob("[!.]*--*"))
    names += [HUB_PREFIX + folder.name.replace("--", "/", 1) for folder in folders]
    return [*names, *(run.name for run in run_folders(workspace))]


def hint_for_model(name: str, workspace: Workspace) -> str:
    """What to do about the name of a model that is not here."""
    known = ["compvis", "diffuser", *known_models(workspace)]
    beginnings = {model[: len(name)]: model for model in reversed(known)}
    near = nearest(name, known) or [
        beginnings[beginning] for beginning in nearest(name, beginnings, cutoff=0.7)
    ]
    if HUB_PREFIX + name in known:
        near = [HUB_PREFIX + name]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return (
        f"here are {_listed(known_models(workspace))}; also a checkpoint, a pipeline folder, "
        "a run folder, a delta or a LoRA by its path"
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
