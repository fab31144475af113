"""A worker: takes one job after the other that nobody else has, until none is left."""

import os
import socket
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import TextIO

from esdctl.errors import EsdctlError, Interrupted
from esdctl.models.kept_parts import keep_parts
from esdctl.redaction import redacted
from esdctl.sweep.job import Place, run_job
from esdctl.sweep.job_folder import Attempt, JobFolder, folder_of
from esdctl.sweep.manifest import Job
from esdctl.sweep.stop import Stop


def work(jobs: Sequence[Job], place: Place, max_attempts: int, stop: Stop, first: int = 0) -> None:
    """Do jobs until each is finished, given up, or in another's hands.

    Text encoders and VAE of a base are opened once. A job that fails does not end the others.

    Args:
        jobs: of the manifest.
        place: where they run.
        max_attempts: after so many failures a job is given up.
        stop: asked within a training.
        first: where to begin, so that workers meet rarely.

    Raises:
        Interrupted: ``stop`` said so; the job at hand is kept as far as it is.
    """
    ordered = [*jobs[first:], *jobs[:first]]
    keep_parts()
    while sum(take(job, place, max_attempts, stop) for job in ordered):
        pass


def take(job: Job, place: Place, max_attempts: int, stop: Stop) -> bool:
    """Try one job, where it is free and not done.

    Returns:
        Whether there was anything to do.

    Raises:
        Interrupted: ``stop`` said so.
    """
    folder = folder_of(job, place.workspace)
    if _is_settled(folder, max_attempts):
        return False
    with folder.claimed() as is_mine:
        if not is_mine or _is_settled(folder, max_attempts):
            return False
        _attempt(job, folder, place, stop)
        return True


def _is_settled(folder: JobFolder, max_attempts: int) -> bool:
    return folder.is_finished or len(folder.failures()) >= max_attempts


def _attempt(job: Job, folder: JobFolder, place: Place, stop: Stop) -> None:
    attempt = folder.begin(f"{socket.gethostname()}-{os.getpid()}")
    with folder.log(attempt.number).open("w", encoding="utf-8") as log, redirect_stderr(log):
        try:
            document = run_job(job, place, LogReporter(log), stop)
        except (Interrupted, KeyboardInterrupt):
            folder.end(attempt, "interrupted")
            raise Interrupted(f"interrupted in {job.label}; what is done is kept") from None
        except EsdctlError as error:
            _failed(folder, attempt, log, ": ".join(filter(None, (error.message, error.hint))))
        except Exception as error:  # a fault of ours in one job must not end the others
            log.write(redacted(traceback.format_exc()))
            _failed(folder, attempt, log, f"unexpected {type(error).__name__}: {error}")
        else:
            folder.write_result({**document, "attempts": attempt.number, "worker": attempt.worker})
            folder.end(attempt, "finished")


def _failed(folder: JobFolder, attempt: Attempt, log: TextIO, reason: str) -> None:
    log.write(f"error: {redacted(reason)}\n")
    folder.end(attempt, "failed", redacted(reason))


class LogReporter:
    """A reporter that writes what happens to a file, without progress."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def started(self, task: str, total: int, unit: str, done: int = 0) -> None:
        self._line(f"{task}: {done}/{total} {unit}")

    def advanced(self, task: str, done: int, details: str = "") -> None:
        pass

    def finished(self, task: str) -> None:
        self._line(f"{task}: done")

    def notice(self, text: str) -> None:
        self._line(text)

    def warning(self, text: str) -> None:
        self._line(f"warning: {text}")

    def _line(self, text: str) -> None:
        self._file.write(redacted(text) + "\n")
        self._file.flush()


def log_of(folder: JobFolder) -> Path | None:
    """What the last attempt said; None without one."""
    attempts = folder.attempts()
    return folder.log(attempts[-1].number) if attempts else None
