"""The training loop: report, save, stop or step."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from esdctl.diffusion.schedule import Schedule
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.checkpoint import Checkpoints, Progress, load_checkpoint
from esdctl.erasing.esd.step import Embeddings, step_loss
from esdctl.erasing.esd.step_log import Row, StepLog
from esdctl.erasing.esd.student import Student
from esdctl.erasing.esd.team import ALONE, Team
from esdctl.erasing.esd.trajectories.pool_folder import PoolFolder
from esdctl.erasing.esd.trajectories.trajectory import open_trajectory
from esdctl.erasing.esd.update import Update
from esdctl.erasing.trackers import Tracker
from esdctl.erasing.training_length import steps_of
from esdctl.erasing.until import Probe, end_rule
from esdctl.errors import CheckFailed, Interrupted
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
        team: the processes that share each step's rows; the first alone writes, tells and measures.
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
    team: Team = ALONE


def train(training: Training) -> Progress:
    """Run the remaining steps.

    Returns:
        What was done in all.

    Raises:
        CheckFailed: the loss is not finite; the last checkpoint stays.
        Interrupted: ``stop`` said so; the state is saved.
        StorageError: the disk is full or not writable.
    """
    student, config, reporter = training.student, training.config, training.reporter
    folder, team, count = training.folder, training.team, training.shape[0]
    trajectory = open_trajectory(
        student, training.schedule, training.embeddings.to(student.device), config, training.shape,
        reporter, training.pools, team.rows(count),
    )  # fmt: skip
    update = Update(student, config.lr, config.gradient_checkpointing, team, config.optimizer)
    state = (folder, student, update.optimizer, update.scaler, trajectory.state)
    before = load_checkpoint(*state)
    _agree(training)
    is_reached = _end_rule(training, before.steps)
    log = StepLog(
        student.device, config.lr, partial(_report_step, training),
        lambda step: team.told_once(_not_finite(step, folder)), team, count,
    )  # fmt: skip
    done, steps = before.steps, steps_of(config, count)
    reporter.started(TASK, steps, "steps", done)
    with Checkpoints(*state, team, count) as checkpoints:
        saved = time.monotonic()
        while done < steps and not is_reached(done):
            log.begin()
            pairs = trajectory.pairs(done)
            loss = step_loss(student, pairs, config.negative_guidance)
            pairs.follow(loss.prediction)
            own = team.part(loss.total(config.retain_weight), count)
            log.add(done + 1, loss, update(own), pairs)
            done += 1
            checkpoints.check()
            stopping, last = team.any(training.stop()), done == steps
            if stopping or last or team.any(_is_due(config, done, saved)):
                log.settle()
                checkpoints.save(Progress(done, before.seconds + log.seconds))
                saved = time.monotonic()
            elif config.until is not None and done % config.probe_every == 0:
                log.settle()
            if stopping and not last:
                checkpoints.check(wait=True)
                raise team.told_once(_interrupted(done, steps, folder))
    reporter.finished(TASK)
    return Progress(done, before.seconds + log.seconds)


def _is_due(config: TrainConfig, done: int, saved: float) -> bool:
    """Whether it is time for a checkpoint, by steps or by the clock."""
    return done % config.save_every == 0 or time.monotonic() - saved >= 60 * config.save_minutes


def _agree(training: Training) -> None:
    """Let all processes start from what the first has."""
    training.team.copy_first(training.student.selected.values())
    training.student.refresh()


def _end_rule(training: Training, done: int) -> Callable[[int], bool]:
    """Whether training may end, as the first process measures; its log goes on after ``done``."""
    config, team = training.config, training.team
    if team.is_first:
        _forget_rows_after(training.log, done)
    if config.until is None:
        return lambda steps: False
    if not team.is_first:
        return lambda steps: team.as_first(False)
    is_reached = end_rule(
        config.until, config.probe_every, training.probe, training.log, training.reporter,
        config.warm_start,
    )  # fmt: skip
    return lambda steps: team.as_first(is_reached(steps))


def _report_step(training: Training, row: Row) -> None:
    if not training.team.is_first:
        return
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


def _forget_rows_after(log: Path, steps: int) -> None:
    """Drop the rows of steps that were done but not saved; they are done again."""
    if log.exists():
        rows = [row for row in read_jsonl(log) if int(str(row["step"])) <= steps]
        write_text(log, "".join(json.dumps(row) + "\n" for row in rows))
