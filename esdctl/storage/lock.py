"""One process per target; the second waits and says so."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from esdctl.progress import Reporter
from esdctl.storage.disk_errors import guard_disk

# What flock says on network disks that have no locks.
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextmanager
def target_lock(path: Path, reporter: Reporter) -> Iterator[None]:
    """Hold the lock of ``path`` during the block.

    The lock lies beside the target (``.<name>.lock``), so the target need not exist. Where the disk
    has no locks (some network disks), the block runs without one: no correctness rests on it.

    Args:
        path: the file or folder that the block will write.
        reporter: told when another process holds the lock.

    Raises:
        StorageError: the folder of ``path`` cannot be written.
    """
    with guard_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            reporter.notice(f"waiting: another process works on {path}")
            lock.acquire()
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            reporter.warning(f"the disk of {path} has no locks; start no second process on it")
    try:
        yield
    finally:
        lock.release()
