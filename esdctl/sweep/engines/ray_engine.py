"""Workers in a Ray cluster, or in one that is started here for the sweep.

A task of Ray is one job. Ray starts a task of a dead node anew elsewhere; what the job had kept
on the shared disk is used again.
"""

import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from esdctl.errors import InputError, Interrupted, UsageError
from esdctl.progress import Reporter
from esdctl.sweep.engines.engine import Run
from esdctl.sweep.manifest import Job
from esdctl.sweep.progress import Watch

TASK = "sweep"
POLL = 1.0  # seconds between looks
_NUMBERS = ("num_cpus", "num_gpus")


@dataclass(frozen=True)
class RayEngine:
    """Gives each job to Ray, as many at once as its resources allow."""

    options: Sequence[str] = ("address", "num_cpus", "num_gpus")

    def run(self, run: Run) -> None:
        """See ``Engine.run``.

        Raises:
            InputError: there is no cluster at the address.
            Interrupted: the user pressed Ctrl-C; tasks were cancelled.
        """
        import ray

        watch = Watch(run.jobs, run.workspace)
        for job in watch.look():
            run.show(job)
        left = [job for job in run.jobs if job not in watch.done]
        if not left:
            return
        needs = _needs(run.options)
        address = run.options.get("address")
        here: dict[str, Any] = {} if address else {"num_cpus": run.workers}
        try:
            ray.init(
                address=address, log_to_driver=False, include_dashboard=False,
                logging_level=logging.ERROR, **here,
            )  # fmt: skip
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InputError(
                f"no Ray cluster at {address}: {error}", "start one: ray start --head"
            ) from error
        with _stdout_of_ours() as stdout:

            def show(job: Job) -> None:
                with redirect_stdout(stdout):
                    run.show(job)
                    stdout.flush()

            try:
                _run(replace(run, show=show), left, watch, needs)
            finally:
                ray.shutdown()


@contextmanager
def _stdout_of_ours() -> Iterator[TextIO]:
    """What was stdout before; during the block what Ray and its libraries print is dropped."""
    sys.stdout.flush()
    before = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    try:
        with os.fdopen(before, "w", encoding="utf-8", closefd=False) as stdout:
            yield stdout
    finally:
        sys.stdout.flush()
        os.dup2(before, 1)
        os.close(before)


def _run(run: Run, left: Sequence[Job], watch: Watch, needs: Mapping[str, float]) -> None:
    import ray

    options: dict[str, Any] = {"max_retries": run.max_attempts, **needs}
    take = ray.remote(**options)(_take)
    root = str(run.workspace.root.resolve())
    device = run.devices[0] if run.devices else None
    waiting = [take.remote(job, root, device, run.max_attempts) for job in left]
    run.reporter.started(TASK, len(run.jobs), "jobs", len(watch.done))
    try:
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=POLL)
            for each in done:
                _tell(each, run.reporter)
            for job in watch.look():
                run.show(job)
                run.reporter.advanced(TASK, len(watch.done))
    except KeyboardInterrupt:
        for each in waiting:
            ray.cancel(each, force=False)
        raise Interrupted(
            f"interrupted; {len(watch.done)} of {len(run.jobs)} jobs are done",
            "run the same command again to go on",
        ) from None
    finally:
        run.reporter.finished(TASK)


def _tell(task: Any, reporter: Reporter) -> None:
    """A task that Ray gave up; what a job itself says is in its folder."""
    import ray

    try:
        ray.get(task)
    except ray.exceptions.RayError as error:
        reporter.warning(f"Ray gave a job up: {str(error).strip().splitlines()[-1]}")


def _take(job: Job, root: str, device: str | None, max_attempts: int) -> None:
    """One job, in a process of Ray's that stays for the next one."""

    from esdctl.models.kept_parts import keep_parts
    from esdctl.storage.workspace import Workspace
    from esdctl.sweep.job import Place
    from esdctl.sweep.stop import Stop
    from esdctl.sweep.worker import take

    keep_parts()
    while take(job, Place(Workspace(Path(root)), device, tuple(sys.argv)), max_attempts, Stop()):
        pass


def _needs(options: Mapping[str, str]) -> dict[str, float]:
    """What a job asks of a node.

    Raises:
        UsageError: a number is none.
    """
    found = {}
    for key in _NUMBERS:
        if key in options:
            try:
                found[key] = float(options[key])
            except ValueError:
                raise UsageError(f"--option {key} is {options[key]!r}", "write a number") from None
    return {"num_cpus": 1.0, **found}


ENGINE = RayEngine()
