"""Where a checkpoint's safetensors copy lies: hidden beside it, as ``.NAME.<hash>...``.

Under a dry run, which leaves nothing, it lies in a temporary folder that goes with the run.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePath
from typing import TypeVar

_DIGITS = 16  # of the sha256

_temporary: ContextVar[Path | None] = ContextVar("temporary_copies", default=None)

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


@contextmanager
def copies_that_do_not_stay() -> Iterator[None]:
    """Let checkpoints that are read for the first time leave nothing behind."""
    with tempfile.TemporaryDirectory(
        prefix="esdctl-dry-run-", ignore_cleanup_errors=True
    ) as folder:
        token = _temporary.set(Path(folder))
        try:
            yield
        finally:
            _temporary.reset(token)


def temporary_copies() -> Path | None:
    """The folder for new copies while none shall stay; None where they may."""
    return _temporary.get()
