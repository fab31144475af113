"""Where a model lies that is called by a name or a path."""

from pathlib import Path

from esdctl.catalog.artifacts import HUB_PREFIX, hub_artifact
from esdctl.errors import InputError
from esdctl.models.named import (
    COMPVIS,
    DIFFUSER,
    EMBEDDED,
    RECORD_NAME,
    find_run,
    hint_for_model,
)
from esdctl.storage.user_path import user_path
from esdctl.storage.workspace import Workspace


def supplier_folder(name: str, workspace: Workspace) -> Path:
    """The pipeline folder that supplies what a file lacks.

    Args:
        name: its path, or the name of a model that is one.
        workspace: where named models lie.

    Raises:
        InputError: it is none.
    """
    known = named_path(name, workspace)
    folder = user_path(Path(name)) if known is None else known[1]
    if not (folder / "model_index.json").is_file():
        raise InputError(
            f"--pipeline is {name}, which is no pipeline folder (model_index.json)",
            "give the folder, or hub:OWNER/NAME of one that esdctl download fetched",
        )
    return folder


def named_path(name: str, workspace: Workspace) -> tuple[str, Path] | None:
    """The name and the file or folder of a model whose name is no path; None for another name.

    Raises:
        InputError: it is not here.
    """
    if name in EMBEDDED:
        return name, EMBEDDED[name]
    places = {"compvis": COMPVIS, "diffuser": DIFFUSER, "diffusers": DIFFUSER}
    if name in places:
        path = workspace.models / places[name]
        known = name.removesuffix("s") if name == "diffusers" else name
        marker = path / "model_index.json" if known == "diffuser" else path
        if not marker.is_file():
            raise InputError(
                f"the model {known} is not here: {marker} is missing",
                f"esdctl download {known}, or use --model pocket",
            )
        return known, path
    if name.startswith(HUB_PREFIX):
        path = workspace.root / hub_artifact(name).folder
        if not path.is_dir():
            raise InputError(f"the model {name} is not here", f"esdctl download {name}")
        return name, path
    return None


def existing_path(name: str, workspace: Workspace) -> Path:
    """An existing path, else the run that is called so.

    Raises:
        InputError: there is neither, or the folder is no model's.
        UsageError: several runs begin with the name.
    """
    path = user_path(Path(name))
    if not path.exists():
        run = find_run(name, workspace)
        if run is None:
            hint = hint_for_model(name, workspace)
            raise InputError(f"no model called {name!r}, and no such path", hint)
        return run
    if path.is_dir() and not any((path / f).is_file() for f in ("model_index.json", RECORD_NAME)):
        raise InputError(
            f"{path} is neither a pipeline folder (model_index.json) nor a run folder (run.json)",
            "give the folder that esdctl train printed",
        )
    return path
