"""The user's cache folder: what can be computed again, and need not be."""

import os
import sys
from contextlib import suppress
from pathlib import Path

from esdctl.errors import StorageError
from esdctl.storage.atomic import write_text


def cache_folder() -> Path:
    """``ESDCTL_CACHE_DIR``, else ``esdctl`` in the system's folder for caches, perhaps missing."""
    chosen = os.environ.get("ESDCTL_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "esdctl"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "esdctl"


def recall(kind: str, key: str) -> str | None:
    """What ``remember`` kept, or None.

    Args:
        kind: a folder of the cache.
        key: a file name in it.
    """
    try:
        return (cache_folder() / kind / key).read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError):  # RuntimeError: the user has no home
        return None


def remember(kind: str, key: str, text: str) -> None:
    """Keep a text; where the cache cannot be written, it is computed again the next time."""
    with suppress(StorageError, OSError, RuntimeError):
        write_text(cache_folder() / kind / key, text)
