"""What a shell offers after Tab: concepts, presets, methods, models and runs. Loads no torch."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from esdctl.errors import EsdctlError
from esdctl.storage.workspace import Workspace, find_workspace


def complete_run(incomplete: str) -> list[str]:
    """The workspace's runs."""
    from esdctl.models.named import run_folders

    return _beginning(incomplete, (run.name for run in run_folders(_workspace())))


def complete_model(incomplete: str) -> list[str]:
    """What ``--model`` takes here: names, runs, and what lies in the folder that is being typed."""
    from esdctl.models.named import known_models

    return _beginning(incomplete, known_models(_workspace())) + _paths(incomplete)


def complete_concept(incomplete: str) -> list[str]:
    """The styles and objects of UnlearnCanvas."""
    from esdctl.datasets.unlearn_canvas import OBJECTS, STYLES

    return _beginning(incomplete, (*STYLES, *OBJECTS))


def complete_preset(incomplete: str) -> list[str]:
    """The presets that ship."""
    from esdctl.erasing.preset import preset_names

    return _beginning(incomplete, preset_names())


def complete_method(incomplete: str) -> list[str]:
    """The train methods."""
    from esdctl.erasing.train_methods import RULES

    return _beginning(incomplete, RULES)


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    wanted = incomplete.casefold()
    return [name for name in names if name.casefold().startswith(wanted)]


def _paths(incomplete: str) -> list[str]:
    """Files and folders, since a shell that asks us does not look at the disk itself."""
    if not incomplete:
        return []
    folder, slash, start = incomplete.rpartition("/")
    with suppress(OSError, RuntimeError):  # RuntimeError: ~ without a home
        names = sorted(path.name for path in Path(folder + slash or ".").expanduser().iterdir())
        shown = [name for name in names if start or not name.startswith(".")]
        return [folder + slash + name for name in shown if name.startswith(start)]
    return []


def _workspace() -> Workspace:
    with suppress(EsdctlError):
        return find_workspace(None)
    return Workspace(Path())
