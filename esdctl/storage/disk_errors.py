"""Operating-system errors that mean the disk, told as a StorageError with what to do."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from esdctl.errors import StorageError

_ELSEWHERE = "check its permissions, or choose another place"
_FREE_SPACE = "free some space or choose a folder on another disk"
_HINTS = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EFBIG: "the disk or a limit of the shell (ulimit -f) allows no file of this size",
    errno.EROFS: "choose a folder on a disk that you may write to",
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.ENOTDIR: "a part of the path is a file; choose another path",
    errno.EEXIST: "something else is there already; choose another path",
    errno.ENOTEMPTY: "something else is there already; choose another path",
    errno.EISDIR: "a folder is there; choose another path",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "the disk itself reports a failure; choose another one",
}

# safetensors reports the number as text ("No space left on device (os error 28)").
_NUMBER_IN_TEXT = re.compile(r"\(os error (\d+)\)")
# torch.save keeps no number at all, only words of its ZIP writer.
_TORCH_WRITER_FAILED = re.compile(r"inline_container|iostream error|PytorchStreamWriter")


def storage_error(error: BaseException, path: Path | str) -> StorageError | None:
    """Tell what ``error`` means for ``path``; None when it has nothing to do with the disk."""
    number = _error_number(error)
    if number in _HINTS:
        return StorageError(f"cannot use {path}: {os.strerror(number)}", _HINTS[number])
    if isinstance(error, RuntimeError) and _TORCH_WRITER_FAILED.search(str(error)):
        return StorageError(f"cannot use {path}: the disk takes no more", _FREE_SPACE)
    return None


@contextmanager
def guard_disk(path: Path) -> Iterator[None]:
    """Turn the disk's errors inside the block into a StorageError that names ``path``.

    Raises:
        StorageError: the disk is full, read-only, not writable, or something is in the way.
    """
    try:
        yield
    except Exception as error:
        translated = storage_error(error, path)
        if translated is None:
            raise
        raise translated from error


def _error_number(error: BaseException) -> int:
    """The errno of an OSError, or the one that a library wrote into its message; 0 if none."""
    if isinstance(error, OSError):
        return error.errno or 0
    found = _NUMBER_IN_TEXT.search(str(error))
    return int(found.group(1)) if found else 0
