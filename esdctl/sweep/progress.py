"""How far a sweep is, as its folders say; whoever works on it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from esdctl.errors import CheckFailed
from esdctl.storage.workspace import Workspace
from esdctl.sweep.job_folder import Attempt, JobFolder, State, folder_of
from esdctl.sweep.manifest import Job


@dataclass(frozen=True)
class JobState:
    """Where one job stands.

    Args:
        job: the job.
        state: where it stands.
        attempts: so far.
        worker: who has it, or had it last.
        reason: why it failed last.
        log: what the last attempt said; None before any.
    """

    job: Job
    state: State
    attempts: int
    worker: str
    reason: str
    log: Path | None

    def document(self) -> dict[str, object]:
        """As a JSON document."""
        return {
            "job": self.job.name,
            "label": self.job.label,
            "state": self.state,
            "attempts": self.attempts,
            "worker": self.worker,
            "reason": self.reason,
            "log": None if self.log is None else str(self.log),
        }


@dataclass(frozen=True)
class Progress:
    """All jobs of a sweep at one moment.

    Args:
        jobs: in the manifest's order.
        seconds_a_job: the mean of those that are finished; None before any is.
    """

    jobs: tuple[JobState, ...]
    seconds_a_job: float | None = None

    @property
    def counts(self) -> dict[State, int]:
        """How many are finished, running, waiting and failed."""
        found = Counter(each.state for each in self.jobs)
        states: tuple[State, ...] = ("finished", "running", "waiting", "failed")
        return {state: found[state] for state in states}

    @property
    def seconds_left(self) -> float | None:
        """For as many workers as run now; None where nothing tells."""
        counts = self.counts
        left = counts["running"] + counts["waiting"]
        if not left:
            return 0.0
        if self.seconds_a_job is None or not counts["running"]:
            return None
        return self.seconds_a_job * (left - counts["running"] / 2) / counts["running"]

    def document(self) -> dict[str, object]:
        """As a JSON document."""
        return {
            "counts": self.counts,
            "seconds_a_job": self.seconds_a_job,
            "seconds_left": self.seconds_left,
            "jobs": [each.document() for each in self.jobs],
        }


def read_progress(jobs: Sequence[Job], workspace: Workspace, max_attempts: int) -> Progress:
    """Ask each job's folder.

    Raises:
        InputError: a file of one is damaged.
    """
    folders = [folder_of(job, workspace) for job in jobs]
    states = [_state(job, each, max_attempts) for job, each in zip(jobs, folders, strict=True)]
    took = [
        seconds
        for state, folder in zip(states, folders, strict=True)
        if state.state == "finished" and (seconds := _seconds(folder)) is not None
    ]
    return Progress(tuple(states), round(sum(took) / len(took), 1) if took else None)


def check_all_finished(progress: Progress) -> None:
    """Raise where a job is not finished.

    Raises:
        CheckFailed: says which failed and where its log is, or how many others are left.
    """
    failed = [each for each in progress.jobs if each.state == "failed"]
    if failed:
        first = failed[0]
        raise CheckFailed(
            f"{len(failed)} of {len(progress.jobs)} jobs failed; {first.job.label}: {first.reason}",
            f"see {first.log}; a larger --max-attempts tries them again",
        )
    left = len(progress.jobs) - progress.counts["finished"]
    if left:
        raise CheckFailed(
            f"{left} of {len(progress.jobs)} jobs are not done, {progress.counts['running']} of "
            "them in other hands",
            "run the same command again",
        )


def _state(job: Job, folder: JobFolder, max_attempts: int) -> JobState:
    state = folder.state(max_attempts)
    attempts = folder.attempts()
    last = attempts[-1] if attempts else None
    return JobState(
        job,
        state,
        len(attempts),
        last.worker if last else "",
        _reason(last) if state in ("failed", "waiting") and last else "",
        folder.log(last.number) if last else None,
    )


def _reason(last: Attempt) -> str:
    if last.end is None:
        return "its process died"
    return last.reason or last.end


@dataclass
class Watch:
    """Counts what is new since it looked last, without reading what it knows.

    Args:
        jobs: of the manifest.
        workspace: where they run.
    """

    jobs: Sequence[Job]
    workspace: Workspace
    done: list[Job] = field(default_factory=list)

    def look(self) -> list[Job]:
        """The jobs that were finished since the last look."""
        known = {job.name for job in self.done}
        new = [
            job
            for job in self.jobs
            if job.name not in known and folder_of(job, self.workspace).is_finished
        ]
        self.done += new
        return new


def _seconds(folder: JobFolder) -> float | None:
    seconds = folder.read_result().get("seconds")
    return sum(map(float, seconds.values())) if isinstance(seconds, dict) else None
