"""What runs a sweep's jobs; each file beside this one that defines ``ENGINE`` is one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from esdctl.errors import UsageError
from esdctl.progress import Reporter
from esdctl.settings.choice import one_of
from esdctl.storage.workspace import Workspace
from esdctl.sweep.manifest import Job

NAMES = ("local", "slurm", "ray")


@dataclass(frozen=True)
class Run:
    """What an engine is asked to do.

    Args:
        manifest: its file.
        jobs: in the manifest.
        workspace: with the models, and for what comes out; every worker sees it.
        devices: a worker each, in turns; none leaves it to each worker.
        workers: how many at once; None for one a device.
        max_attempts: after so many failures a job is given up.
        options: the engine's own, by name.
        reporter: told how many jobs are done.
        show: called with each job as it is finished, those from before first.
    """

    manifest: Path
    jobs: tuple[Job, ...]
    workspace: Workspace
    devices: tuple[str, ...]
    workers: int | None
    max_attempts: int
    reporter: Reporter
    show: Callable[[Job], None]
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Workers, no more than there are jobs."""
        return min(self.workers or max(1, len(self.devices)), len(self.jobs))

    def device(self, worker: int) -> str | None:
        """Of one of the workers."""
        return self.devices[worker % len(self.devices)] if self.devices else None

    def first(self, worker: int) -> int:
        """The job that a worker begins with."""
        return worker * len(self.jobs) // self.count


class Engine(Protocol):
    """Runs jobs, here or elsewhere."""

    @property
    def options(self) -> Sequence[str]:
        """Names that ``Run.options`` may have; empty where there are none."""
        ...

    def run(self, run: Run) -> None:
        """Return when each job is finished, given up, or in somebody else's hands.

        Raises:
            Interrupted: the user pressed Ctrl-C; the workers were stopped.
            UsageError, InputError: the engine is not here, or an option makes no sense.
        """
        ...


def find_engine(name: str) -> Engine:
    """An engine by its name.

    Raises:
        UsageError: there is none, or what it needs is not installed.
    """
    chosen = one_of("--engine", name, list(NAMES))
    needs = {"slurm": "submitit", "ray": "ray"}.get(chosen)
    if needs is not None and find_spec(needs) is None:
        raise UsageError(
            f"the engine {chosen} needs {needs}, which is not installed",
            f"pip install 'esdctl[{chosen}]'",
        )
    engine: Engine = import_module(f"esdctl.sweep.engines.{chosen}_engine").ENGINE
    return engine


def check_options(engine: Engine, name: str, options: Mapping[str, str]) -> None:
    """Refuse what the engine does not know.

    Raises:
        UsageError: names the option.
    """
    unknown = [key for key in options if key not in engine.options]
    if unknown:
        known = ", ".join(engine.options) or "none"
        raise UsageError(f"the engine {name} has no option {unknown[0]}", f"it has: {known}")
