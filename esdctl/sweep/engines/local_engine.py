"""Workers on this machine: long-lived processes, one a device."""

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

from esdctl.errors import InputError, Interrupted
from esdctl.sweep.engines.engine import Run
from esdctl.sweep.engines.worker_process import POLL, worker_command, worker_environment
from esdctl.sweep.progress import Watch, read_progress

TASK = "sweep"
FRUITLESS = 3  # workers that may die one after the other without beginning a job
PATIENCE = 30.0  # seconds for workers that were asked to stop


@dataclass(frozen=True)
class Worker:
    """A process, and the file of what it says on stderr."""

    process: "subprocess.Popen[bytes]"
    said: IO[bytes]


@dataclass(frozen=True)
class LocalEngine:
    """Starts workers, starts another for one that died, and counts what is done."""

    options: Sequence[str] = ()

    def run(self, run: Run) -> None:
        """See ``Engine.run``.

        Raises:
            Interrupted: the user pressed Ctrl-C; the workers were stopped.
            InputError: workers die before they begin a job.
        """
        watch = Watch(run.jobs, run.workspace)
        for job in watch.look():
            run.show(job)
        if len(watch.done) == len(run.jobs):
            return
        run.reporter.started(TASK, len(run.jobs), "jobs", len(watch.done))
        workers: dict[int, Worker] = {}
        try:
            self._supervise(run, watch, workers)
        except KeyboardInterrupt:
            _stop(workers)
            for job in watch.look():
                run.show(job)
            raise Interrupted(
                f"interrupted; {len(watch.done)} of {len(run.jobs)} jobs are done",
                "run the same command again to go on",
            ) from None
        finally:
            _kill(workers)
            run.reporter.finished(TASK)

    def _supervise(self, run: Run, watch: Watch, workers: dict[int, "Worker"]) -> None:
        self._start_all(run, workers)
        fruitless, begun = 0, _begun(run)
        while workers:
            time.sleep(POLL)
            for job in watch.look():
                run.show(job)
                run.reporter.advanced(TASK, len(watch.done))
            for number, worker in list(workers.items()):
                status = worker.process.poll()
                if status is None:
                    continue
                del workers[number]
                said = _end(worker)
                if status == 0:
                    if not workers and _is_left(run):  # of a worker of somebody else, that died
                        self._start_all(run, workers)
                    continue
                if not _is_left(run):
                    continue
                run.reporter.warning(f"worker {number} died (status {status}); another takes over")
                fruitless = 0 if _begun(run) > begun else fruitless + 1
                begun = _begun(run)
                if fruitless >= FRUITLESS:
                    raise InputError("workers die before they begin a job", said)
                workers[number] = _start(run, number)
        for job in watch.look():
            run.show(job)
            run.reporter.advanced(TASK, len(watch.done))

    def _start_all(self, run: Run, workers: "dict[int, Worker]") -> None:
        for number in range(run.count):
            workers[number] = _start(run, number)


def _is_left(run: Run) -> bool:
    """Whether a job is neither done nor in anybody's hands."""
    return read_progress(run.jobs, run.workspace, run.max_attempts).counts["waiting"] > 0


def _start(run: Run, number: int) -> "Worker":
    """A worker; it stops when this process, which holds its stdin, is gone."""
    said = TemporaryFile()  # noqa: SIM115  # open as long as the worker is there
    process = subprocess.Popen(
        [*worker_command(run, number), "--until-stdin-closes"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=said,
        env=worker_environment(run),
        start_new_session=True,  # Ctrl-C is for this process, which then asks the workers
    )
    return Worker(process, said)


def _begun(run: Run) -> int:
    """How many attempts there were so far."""
    return sum(each.attempts for each in read_progress(run.jobs, run.workspace, 1).jobs)


def _end(worker: "Worker") -> str:
    """Close the streams of a worker that is gone; gives the last line that it said."""
    with worker.said as said:
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    if worker.process.stdin is not None:
        worker.process.stdin.close()
    return lines[-1] if lines else "nothing is known"


def _stop(workers: "dict[int, Worker]") -> None:
    """Ask all to save their state, and wait for them; Ctrl-C once more kills them."""
    for worker in workers.values():
        worker.process.terminate()
    end = time.monotonic() + PATIENCE
    for worker in workers.values():
        with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            worker.process.wait(max(0.0, end - time.monotonic()))


def _kill(workers: "dict[int, Worker]") -> None:
    for worker in workers.values():
        if worker.process.poll() is None:
            worker.process.kill()
        worker.process.wait()
        _end(worker)


ENGINE = LocalEngine()
