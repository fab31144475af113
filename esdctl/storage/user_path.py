"""Paths as users write them: ``~`` and ``~name`` stand for home folders."""

from pathlib import Path

from esdctl.errors import UsageError


def user_path(path: Path) -> Path:
    """The path with ``~`` expanded, as a shell does it where it sees the ``~``.

    Raises:
        UsageError: there is no such user.
    """
    if not str(path).startswith("~"):
        return path
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"there is no home folder for {path.parts[0]}",
            f"for a file of that name write ./{path}",
        ) from error
