"""The command line of a worker, for engines that start processes."""

import os
import sys

from esdctl.sweep.engines.engine import Run

POLL = 0.2  # seconds between looks at the folders


def worker_command(run: Run, worker: int) -> list[str]:
    """``esdctl sweep work``, which takes jobs until none is left."""
    command = [
        sys.executable, "-m", "esdctl", "sweep", "work", str(run.manifest.resolve()),
        "--root", str(run.workspace.root.resolve()),
        "--max-attempts", str(run.max_attempts),
        "--first", str(run.first(worker)),
    ]  # fmt: skip
    device = run.device(worker)
    return [*command, "--device", device] if device is not None else command


def worker_environment(run: Run) -> dict[str, str]:
    """The environment, with a fair share of the cores for workers on one machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = max(1, (cores or 1) // run.count)
    return {"OMP_NUM_THREADS": str(share), **os.environ}
