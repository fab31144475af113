"""What a sweep keeps of a job, in a folder named by the job.

    outputs/sweep/5d/5d0c.../attempts.jsonl   a row when an attempt begins, and when it ends
    outputs/sweep/5d/5d0c.../attempt-1.log    what the attempt said
    outputs/sweep/5d/5d0c.../result.json      once all of it is done

The folder is the same for every manifest that holds the job. Whoever holds its lock works on it;
the system frees the lock of a process that dies.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from esdctl.errors import InputError
from esdctl.storage.atomic import append_jsonl, read_jsonl, write_json
from esdctl.storage.disk_errors import guard_disk
from esdctl.storage.lock import NO_LOCKS
from esdctl.storage.workspace import Workspace
from esdctl.sweep.manifest import Job

SWEEP = "sweep"  # below outputs
State = Literal["finished", "failed", "running", "waiting"]
End = Literal["finished", "failed", "interrupted"]


@dataclass(frozen=True)
class Attempt:
    """One try at a job.

    Args:
        number: from 1 on.
        worker: host and process.
        began: when.
        end: how it ended; None while it runs, and where its process died.
        reason: what went wrong.
    """

    number: int
    worker: str
    began: str
    end: End | None = None
    reason: str = ""


@dataclass(frozen=True)
class JobFolder:
    """A job on disk; the folder need not exist yet."""

    path: Path

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    def log(self, number: int) -> Path:
        """What an attempt says."""
        return self.path / f"attempt-{number}.log"

    @property
    def is_finished(self) -> bool:
        return self.result.is_file()

    def attempts(self) -> list[Attempt]:
        """All tries, the first first.

        Raises:
            InputError: the file of attempts is damaged.
        """
        path = self._attempts
        if not path.is_file():
            return []
        found: dict[int, Attempt] = {}
        for row in read_jsonl(path):
            try:
                attempt = Attempt(**row)  # type: ignore[arg-type]
            except TypeError as error:
                raise InputError(f"{path} is damaged", "remove it to try the job anew") from error
            found[attempt.number] = attempt
        return list(found.values())

    def failures(self) -> list[Attempt]:
        """The tries that failed, or whose process died; not those that were asked to stop."""
        return [each for each in self.attempts() if each.end in ("failed", None)]

    def state(self, max_attempts: int) -> State:
        """Where the job stands; asks for its lock where an attempt has no end."""
        if self.is_finished:
            return "finished"
        attempts = self.attempts()
        if attempts and attempts[-1].end is None and self._is_locked():
            return "running"
        is_spent = len(self.failures()) >= max_attempts
        return "failed" if is_spent else "waiting"

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Whether the job is this process's during the block; False where another works on it.

        Raises:
            StorageError: the folder cannot be written.
        """
        with guard_disk(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._lock)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                yield False
                return
            except OSError as error:  # without locks two may do the same; the results are equal
                if error.errno not in NO_LOCKS:
                    raise
        try:
            yield True
        finally:
            lock.release()

    def begin(self, worker: str) -> Attempt:
        """Note that an attempt begins."""
        number = max((each.number for each in self.attempts()), default=0) + 1
        attempt = Attempt(number, worker, datetime.now(UTC).isoformat(timespec="seconds"))
        append_jsonl(self._attempts, vars(attempt))
        return attempt

    def end(self, attempt: Attempt, end: End, reason: str = "") -> None:
        """Note how an attempt ended."""
        append_jsonl(self._attempts, {**vars(attempt), "end": end, "reason": reason})

    def write_result(self, document: dict[str, object]) -> None:
        """Keep what the job gave."""
        write_json(self.result, document)

    def read_result(self) -> dict[str, object]:
        """What the job gave.

        Raises:
            InputError: the file is damaged.
        """
        try:
            document = json.loads(self.result.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(
                f"cannot read {self.result}", "remove it; esdctl sweep run makes it anew"
            ) from error
        if not isinstance(document, dict):
            raise InputError(f"{self.result} is damaged", "remove it to do the job again")
        return document

    @property
    def _attempts(self) -> Path:
        return self.path / "attempts.jsonl"

    @property
    def _lock(self) -> Path:
        return self.path / ".lock"

    def _is_locked(self) -> bool:
        lock = FileLock(self._lock)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            return False
        lock.release()
        return False


def folder_of(job: Job, workspace: Workspace) -> JobFolder:
    """Where a job's result goes."""
    return JobFolder(workspace.outputs / SWEEP / job.name[:2] / job.name)
