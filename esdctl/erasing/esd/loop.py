"""The training loop: report, save, stop or step."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from esdctl.diffusion.schedule import Schedule
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.checkpoint import Progress, load_checkpoint, save_checkpoint
from esdctl.erasing.esd.step import Embeddings, Loss, Pairs, step_loss
from esdctl.erasing.esd.student import Student
from esdctl.erasing.esd.trajectories.pool_folder import PoolFolder
from esdctl.erasing.esd.trajectories.trajectory import open_trajectory
from esdctl.erasing.esd.update import Update
from esdctl.erasing.trackers import Tracker
from esdctl.erasing.training_length import steps_of
from esdctl.erasing.until import Probe, end_rule
from esdctl.errors import CheckFailed, Interrupted
from esdctl.models.memory import peak_memory
from esdctl.progress import Reporter
from esdctl.storage.atomic import append_jsonl, read_jsonl, write_text

TASK = "train"


@dataclass(frozen=True)
class Training:
    """One training: what moves towards what, where its state is kept, and who is told.

    Args:
        student: changed in place.
        schedule, embeddings, config: the model's, those of all prompts, and the settings.
        shape: of the latents of a step, (B, 4, h, w).
        folder: of the checkpoints; the newest one is resumed.
        log: the JSONL file of the steps.
        tracker: is given the same rows.
        reporter: told of each step.
        stop: asked after each step; True saves and ends with Interrupted.
        probe: measures whether training may end early; needed where the settings say ``until``.
        pools: where frozen trajectories are kept; None for memory alone.
    """

    student: Student
    schedule: Schedule
    embeddings: Embeddings
    config: TrainConfig
    shape: tuple[int, int, int, int]
    folder: Path
    log: Path
    tracker: Tracker
    reporter: Reporter
    stop: Callable[[], bool]
    probe: Probe | None = None
    pools: PoolFolder | None = None


def train(training: Training) -> Progress:
    """Run the remaining steps.

    Returns:
        What was done in all.

    Raises:
        CheckFailed: the loss is not finite; the last checkpoint stays.
        Interrupted: ``stop`` said so; the state is saved.
    """
    student, config, reporter = training.student, training.config, training.reporter
    folder, log = training.folder, training.log
    trajectory = open_trajectory(
        student, training.schedule, training.embeddings.to(student.device), config, training.shape,
        reporter, training.pools,
    )  # fmt: skip
    update = Update(student, config.lr, config.gradient_checkpointing)
    state = (folder, student, update.optimizer, update.scaler, trajectory.state)
    progress = load_checkpoint(*state)
    _forget_rows_after(log, progress.steps)
    is_reached = end_rule(
        config.until, config.probe_every, training.probe, log, reporter, config.warm_start
    )
    steps = steps_of(config, training.shape[0])
    reporter.started(TASK, steps, "steps", progress.steps)
    while progress.steps < steps and not is_reached(progress.steps):
        began = time.perf_counter()
        pairs = trajectory.pairs(progress.steps)
        loss = step_loss(student, pairs, config.negative_guidance)
        pairs.follow(loss.prediction)
        if not update(loss.total(config.retain_weight)):
            raise _not_finite(progress.steps, folder)
        seconds = time.perf_counter() - began
        progress = Progress(progress.steps + 1, progress.seconds + seconds)
        _report_step(training, _row(progress, loss, training, pairs, seconds))
        stopping = training.stop()
        last = progress.steps == steps
        if stopping or last or progress.steps % config.save_every == 0:
            save_checkpoint(*state, progress)
        if stopping and not last:
            raise _interrupted(progress.steps, steps, folder)
    reporter.finished(TASK)
    return progress


def _report_step(training: Training, row: dict[str, object]) -> None:
    step = int(str(row["step"]))
    append_jsonl(training.log, row)
    training.tracker.log(step, row)
    training.reporter.advanced(TASK, step, f"loss {row['loss']:.5f}")


def _interrupted(done: int, steps: int, folder: Path) -> Interrupted:
    return Interrupted(
        f"stopped after step {done} of {steps}; the state is saved",
        f"go on with: esdctl train --resume {folder.parent}",
    )


def _not_finite(step: int, folder: Path) -> CheckFailed:
    return CheckFailed(
        f"the loss is not finite at step {step}",
        f"use a lower --lr; the last good checkpoint stays in {folder}",
    )


def _row(
    progress: Progress, loss: Loss, training: Training, pairs: Pairs, seconds: float
) -> dict[str, object]:
    losses = [loss.erase] if loss.retain is None else [loss.erase, loss.retain]
    # In one copy, because each keeps the host waiting; fp32 holds 0..999 exactly.
    read = torch.cat([torch.stack(losses).detach(), pairs.t.float()]).tolist()
    timesteps = [int(t) for t in read[len(losses) :]]
    row: dict[str, object] = {
        "step": progress.steps,
        "loss": read[0],
        "lr": training.config.lr,
        "t": timesteps[0] if len(set(timesteps)) == 1 else timesteps,
        "seconds": round(seconds, 4),
        "memory_bytes": peak_memory(training.student.device),
    }
    if loss.retain is not None:
        row["retain_loss"] = read[1]
    return row


def _forget_rows_after(log: Path, steps: int) -> None:
    """Drop the rows of steps that were done but not saved; they are done again."""
    if log.exists():
        rows = [row for row in read_jsonl(log) if int(str(row["step"])) <= steps]
        write_text(log, "".join(json.dumps(row) + "\n" for row in rows))
