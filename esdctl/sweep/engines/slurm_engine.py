"""Workers in a Slurm job array, through submitit.

A task of the array is a long-lived worker. Slurm's warning (SIGUSR2, before the time limit, or a
preemption) makes it save the training at hand and asks for another place in the queue.
"""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from esdctl.errors import InputError, Interrupted, UsageError
from esdctl.sweep.engines.engine import Run
from esdctl.sweep.engines.worker_process import worker_command
from esdctl.sweep.job_folder import SWEEP
from esdctl.sweep.progress import Watch, read_progress

TASK = "sweep"
POLL = 1.0  # seconds between looks
PATIENCE = 60.0  # seconds for a worker that saves its state
_NUMBERS = ("timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb", "signal_delay_s")
_OF_SUBMITIT = ("timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb")


@dataclass
class ArrayTask:
    """What a task of the array does; submitit writes it to a file for it.

    Args:
        command: of the worker.
    """

    command: list[str]
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def __call__(self) -> int:
        # Slurm warns every process of the task; the worker is told by ``checkpoint`` alone.
        self.process = subprocess.Popen(self.command, preexec_fn=_ignore_warnings)
        while not _is_gone(self.process.pid):
            time.sleep(POLL)
        return self.process.wait()

    def checkpoint(self) -> Any:
        """Called by submitit before the task is put into the queue again."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGTERM)
            end = time.monotonic() + PATIENCE
            while not _is_gone(self.process.pid) and time.monotonic() < end:
                time.sleep(POLL)
        return DelayedSubmission(ArrayTask(self.command))

    def __getstate__(self) -> dict[str, object]:
        return {"command": self.command, "process": None}


def _is_gone(process: int) -> bool:
    """Whether a child ended; unlike Popen's methods, it may be asked within a signal's handler."""
    try:
        ended = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return ended is not None


def _ignore_warnings() -> None:
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


@dataclass(frozen=True)
class SlurmEngine:
    """Submits an array of workers and waits until they end."""

    options: Sequence[str] = (
        "partition", "account", "qos", "constraint", "comment", "setup",
        *_OF_SUBMITIT, "signal_delay_s",
    )  # fmt: skip

    def run(self, run: Run) -> None:
        """See ``Engine.run``.

        Raises:
            InputError: Slurm is not here, or takes no job.
            Interrupted: the user pressed Ctrl-C; the array was cancelled.
        """
        import submitit
        from submitit.core.utils import FailedJobError

        watch = Watch(run.jobs, run.workspace)
        for job in watch.look():
            run.show(job)
        if len(watch.done) == len(run.jobs):
            return
        folder = run.workspace.outputs / SWEEP / "slurm"
        try:
            executor = submitit.SlurmExecutor(folder=folder.resolve(), max_num_timeout=1000)
            executor.update_parameters(array_parallelism=run.count, **_parameters(run.options))
            tasks = [ArrayTask(worker_command(run, number)) for number in range(run.count)]
            with executor.batch():
                submitted = [executor.submit(task) for task in tasks]
        except (RuntimeError, OSError, FailedJobError, ValueError) as error:
            raise InputError(
                f"Slurm took no job: {error}",
                "is sbatch here, and does it know --option partition?",
            ) from error
        array = str(submitted[0].job_id).partition("_")[0]
        run.reporter.notice(f"Slurm's array is {array}")
        _wait(run, watch, array)
        left = read_progress(run.jobs, run.workspace, run.max_attempts).counts["waiting"]
        if left:
            raise InputError(
                f"Slurm's tasks are over and {left} jobs are not done; the first said: "
                f"{_said(submitted[0])}",
                "run the same command again; more time: --option timeout_min=MINUTES",
            )


def _wait(run: Run, watch: Watch, array: str) -> None:
    run.reporter.started(TASK, len(run.jobs), "jobs", len(watch.done))
    try:
        while True:
            over = _is_over(array)
            for job in watch.look():
                run.show(job)
                run.reporter.advanced(TASK, len(watch.done))
            if over or len(watch.done) == len(run.jobs):
                break
            time.sleep(POLL)
    except KeyboardInterrupt:
        subprocess.run(["scancel", array], check=False, capture_output=True)
        raise Interrupted(
            f"interrupted; the array was cancelled; {len(watch.done)} of {len(run.jobs)} jobs "
            "are done",
            "run the same command again to go on",
        ) from None
    finally:
        run.reporter.finished(TASK)


def _is_over(array: str) -> bool:
    """Whether no task is in the queue any more; Slurm forgets an array after a while."""
    asked = subprocess.run(
        ["squeue", "--noheader", "--jobs", array], check=False, capture_output=True, text=True
    )
    is_forgotten = asked.returncode != 0 and "Invalid job id" in asked.stderr
    return is_forgotten or (asked.returncode == 0 and not asked.stdout.strip())


def _said(task: Any) -> str:
    lines = (task.stderr() or task.stdout() or "nothing").strip().splitlines()
    return lines[-1] if lines else "nothing"


def _parameters(options: Mapping[str, str]) -> dict[str, object]:
    """submitit's names for sbatch's options.

    Raises:
        UsageError: a number is none.
    """
    found: dict[str, object] = {}
    for key, text in options.items():
        if key in _NUMBERS:
            if not text.isdecimal():
                raise UsageError(f"--option {key} is {text!r}", "write a whole number")
            value: object = int(text)
            if key == "mem_gb":
                key, value = "mem", f"{text}GB"
            elif key == "timeout_min":
                key = "time"
        else:
            value = [text] if key == "setup" else text
        found[key] = value
    return found


ENGINE = SlurmEngine()
