"""The state to resume a run from: parameters, Adam's moments, fp16's scale, steps done.

Rolling trajectories keep where they are. No random state is kept, because each step draws from
(seed, step).
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from esdctl.erasing.esd.student import Student
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


def save_checkpoint(
    folder: Path,
    student: Student,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    trajectory: dict[str, torch.Tensor],
    progress: Progress,
) -> None:
    """Write a checkpoint atomically, then remove all but the last two.

    Raises:
        StorageError: the disk is full or not writable; earlier checkpoints stay.
    """
    state = {
        "steps": progress.steps,
        "seconds": progress.seconds,
        "selected": {name: p.detach() for name, p in student.selected.items()},
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "trajectory": trajectory,
    }
    write_with(folder / _name(progress.steps), lambda temporary: torch.save(state, temporary))
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)


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
