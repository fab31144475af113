"""The state to resume a run from: parameters, Adam's moments, fp16's scale, steps done.

Rolling trajectories keep where they are. No random state is kept, because each step draws from
(seed, step).
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from esdctl.erasing.esd.student import Student
from esdctl.erasing.esd.team import ALONE, Team
from esdctl.errors import InputError
from esdctl.storage.atomic import write_with

KEPT = 2


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Args:
        steps: optimiser steps done.
        seconds: training time spent on them.
    """

    steps: int
    seconds: float


class Checkpoints:
    """Writes checkpoints of one training; from another device than the CPU, in a thread.

    What it holds is copied to the host first, so training goes on while the file is written. A
    block ends when the last one is on the disk, however it ends.

    Args:
        folder: of the checkpoints.
        student, optimizer, scaler, trajectory: what is kept.
        team: of which the first writes, with what each has of the trajectories.
        count: of the rows of a step.
    """

    def __init__(
        self,
        folder: Path,
        student: Student,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        trajectory: dict[str, torch.Tensor],
        team: Team = ALONE,
        count: int = 1,
    ) -> None:
        self._team, self._count = team, count
        self._folder, self._student = folder, student
        self._optimizer, self._scaler, self._trajectory = optimizer, scaler, trajectory
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *unused: object) -> None:
        self._thread.shutdown(wait=True)
        if kind is None:
            self.check(wait=True)

    def save(self, progress: Progress) -> None:
        """Write a checkpoint atomically, then remove all but the last two.

        Raises:
            StorageError: the disk is full or not writable, now or when the one before was written;
                earlier checkpoints stay.
        """
        self.check(wait=True)
        rows = {name: self._team.whole(t, self._count) for name, t in self._trajectory.items()}
        if not self._team.is_first:
            return
        state = {
            "steps": progress.steps,
            "seconds": progress.seconds,
            "selected": {name: p.detach() for name, p in self._student.selected.items()},
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "trajectory": rows,
        }
        if self._student.device.type == "cpu":
            _write(self._folder, state)
        else:
            self._writing = self._thread.submit(_write, self._folder, _on_host(state))

    def check(self, wait: bool = False) -> None:
        """Raise what went wrong in the thread.

        Args:
            wait: until it is done.

        Raises:
            StorageError: as for ``save``.
        """
        if self._writing is not None and (wait or self._writing.done()):
            writing, self._writing = self._writing, None
            writing.result()


def _write(folder: Path, state: dict[str, Any]) -> None:
    write_with(folder / _name(state["steps"]), lambda temporary: torch.save(state, temporary))
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def _on_host(value: Any) -> Any:
    """The same with copies on the host in place of tensors that may yet change."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _on_host(each) for key, each in value.items()}
    return value


def load_checkpoint(
    folder: Path,
    student: Student,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    trajectory: dict[str, torch.Tensor],
) -> Progress:
    """Restore the newest checkpoint in place; without one, nothing is changed.

    Raises:
        InputError: the newest checkpoint is damaged or belongs to another model.
    """
    paths = _newest_first(folder)
    if not paths:
        return Progress(0, 0.0)
    try:
        state = torch.load(paths[0], map_location="cpu", weights_only=True)
        if state["selected"].keys() != student.selected.keys():
            raise KeyError("other parameters")
        student.take(state["selected"])
        optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty but in fp16
            scaler.load_state_dict(state["scaler"])
        trajectory |= state["trajectory"]
        return Progress(state["steps"], state["seconds"])
    except Exception as error:
        raise InputError(
            f"the checkpoint {paths[0]} is damaged ({type(error).__name__})",
            f"remove it; the run goes on from {paths[1].name if paths[1:] else 'its beginning'}",
        ) from error


def _name(steps: int) -> str:
    return f"step-{steps:07d}.pt"


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.pt"), reverse=True)
