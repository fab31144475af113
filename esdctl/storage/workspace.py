"""The workspace: one root folder and the three folders below it."""

import os
from dataclasses import dataclass
from pathlib import Path

from esdctl.errors import InputError
from esdctl.storage.user_path import user_path


@dataclass(frozen=True)
class Workspace:
    """Where models, data and outputs lie; the folders need not exist yet."""

    root: Path

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"


def find_workspace(root: Path | None) -> Workspace:
    """Find the workspace: ``root``, else the variable ``ESDCTL_ROOT``, else the current folder.

    Args:
        root: what the user passed as ``--root``; None when nothing.

    Raises:
        InputError: the root exists and is not a folder.
        UsageError: it begins with ``~name``, and there is no such user.
    """
    chosen = user_path(root or Path(os.environ.get("ESDCTL_ROOT") or "."))
    if chosen.exists() and not chosen.is_dir():
        raise InputError(
            f"the workspace {chosen} is not a folder", "pass a folder as --root or ESDCTL_ROOT"
        )
    return Workspace(chosen)
