"""The name of a checkpoint's safetensors copy, which lies hidden beside it: ``.NAME.<hash>...``."""

from pathlib import PurePath
from typing import TypeVar

_DIGITS = 16  # of the sha256

AnyPath = TypeVar("AnyPath", bound=PurePath)


def cache_beside(path: AnyPath, sha256: str) -> AnyPath:
    """Where the copy of the checkpoint at ``path`` with this sha256 lies."""
    return path.with_name(f".{path.name}.{sha256[:_DIGITS]}.safetensors")


def traces_beside(path: str, sha256: str) -> tuple[str, str]:
    """Everything that reading a checkpoint may leave beside it: its copy, and the copy's lock.

    Args:
        path: of the checkpoint, with ``/``.
        sha256: of its bytes.
    """
    posix = PurePath(path)
    lock = posix.with_name(f".{posix.name}.lock")
    return cache_beside(posix, sha256).as_posix(), lock.as_posix()
