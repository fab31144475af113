"""The training loop: report, save, stop or step."""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from esdctl.diffusion.conditioning import Conditioning, concatenate
from esdctl.diffusion.schedule import Schedule
from esdctl.errors import CheckFailed, Interrupted
from esdctl.esd.checkpoint import Progress, load_checkpoint, save_checkpoint
from esdctl.esd.config import TrainConfig
from esdctl.esd.objective import esd_loss, esd_target, retain_loss
from esdctl.esd.student import Student
from esdctl.esd.trajectory import Draw, draw, exact
from esdctl.progress import Reporter
from esdctl.storage.atomic import append_jsonl, read_jsonl, write_text

TASK = "train"


@dataclass(frozen=True)
class Embeddings:
    """Everything the text encoders are needed for, computed once.

    Args:
        prompts: of the erased concept, P rows.
        erase_from: of the prompt it is erased from, one row, or None.
        retained: of the retained prompts, R rows, or None.
        empty: of the empty prompt, one row.
    """

    prompts: Conditioning
    erase_from: Conditioning | None
    retained: Conditioning | None
    empty: Conditioning


@dataclass(frozen=True)
class Loss:
    """The terms of one step's loss, scalars."""

    erase: torch.Tensor
    retain: torch.Tensor | None

    def total(self, retain_weight: float) -> torch.Tensor:
        return self.erase if self.retain is None else self.erase + retain_weight * self.retain


def train(
    student: Student,
    schedule: Schedule,
    embeddings: Embeddings,
    config: TrainConfig,
    latent_shape: tuple[int, int, int, int],
    folder: Path,
    log: Path,
    reporter: Reporter,
    stop: Callable[[], bool],
) -> Progress:
    """Run the remaining steps.

    Args:
        student: changed in place.
        schedule: the model's.
        embeddings: of all prompts.
        config: the settings.
        latent_shape: (B, 4, h, w).
        folder: of the checkpoints; the newest one is resumed.
        log: the JSONL file of the steps.
        reporter: told of each step.
        stop: asked after each step; True saves and ends with Interrupted.

    Returns:
        What was done in all.

    Raises:
        CheckFailed: the loss is not finite; the last checkpoint stays.
        Interrupted: ``stop`` said so; the state is saved.
    """
    optimizer = torch.optim.Adam(student.selected.values(), lr=config.lr)
    progress = load_checkpoint(folder, student, optimizer)
    _forget_rows_after(log, progress.steps)
    reporter.started(TASK, config.iterations, "steps", progress.steps)
    while progress.steps < config.iterations:
        began = time.perf_counter()
        drawn = draw(
            config.seed, progress.steps, config.ddim_steps, len(embeddings.prompts),
            len(embeddings.retained or ()), latent_shape,
        )  # fmt: skip
        loss = step_loss(student, schedule, embeddings, config, drawn)
        _step(optimizer, loss.total(config.retain_weight), student, progress.steps, folder)
        seconds = time.perf_counter() - began
        progress = Progress(progress.steps + 1, progress.seconds + seconds)
        append_jsonl(log, _row(progress, loss, config, drawn, seconds))
        reporter.advanced(TASK, progress.steps, f"loss {loss.erase.item():.5f}")
        stopping = stop()
        last = progress.steps == config.iterations
        if stopping or last or progress.steps % config.save_every == 0:
            save_checkpoint(folder, student, optimizer, progress)
        if stopping and not last:
            raise Interrupted(
                f"stopped after step {progress.steps} of {config.iterations}; the state is saved",
                f"go on with: esdctl train --resume {folder.parent}",
            )
    reporter.finished(TASK)
    return progress


def step_loss(
    student: Student, schedule: Schedule, embeddings: Embeddings, config: TrainConfig, drawn: Draw
) -> Loss:
    """One reference iteration up to the loss: sample x_t, ask the frozen copy, ask the student.

    Args:
        student, schedule, embeddings, config: as in ``train``.
        drawn: the step's random choices.

    Returns:
        The terms of the loss, with gradients for the selected parameters.
    """
    count = len(drawn.noise)
    device = next(iter(student.frozen.values())).device

    def repeat(row: Conditioning) -> Conditioning:
        return row.to(device).expand(count)

    c, empty = repeat(embeddings.prompts[drawn.prompt]), repeat(embeddings.empty)
    asked = c if embeddings.erase_from is None else repeat(embeddings.erase_from)
    x_t = exact(
        student.denoise, schedule, drawn, config.ddim_steps, asked, empty, config.start_guidance
    )  # (B, 4, h, w)
    t = torch.full((count,), drawn.timestep, device=device)
    frozen_0, frozen_c = student.denoise_frozen(
        torch.cat([x_t, x_t]), torch.cat([t, t]), concatenate([empty, c])
    ).chunk(2)
    frozen_from = frozen_0
    if embeddings.erase_from is not None:
        frozen_from = student.denoise_frozen(x_t, t, asked)
    target = esd_target(frozen_from, frozen_c, frozen_0, config.negative_guidance)
    erase = esd_loss(student.denoise(x_t, t, asked), target)
    if embeddings.retained is None or config.retain_weight == 0:
        return Loss(erase, None)
    k = repeat(embeddings.retained[drawn.retained])
    return Loss(erase, retain_loss(student.denoise(x_t, t, k), student.denoise_frozen(x_t, t, k)))


def _step(
    optimizer: torch.optim.Optimizer, loss: torch.Tensor, student: Student, step: int, folder: Path
) -> None:
    """One Adam step; refuses to apply a loss or leave a parameter that is not finite."""
    if torch.isfinite(loss):
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if all(bool(p.isfinite().all()) for p in student.selected.values()):
            return
    raise CheckFailed(
        f"the loss is not finite at step {step}",
        f"use a lower --lr; the last good checkpoint stays in {folder}",
    )


def _row(
    progress: Progress, loss: Loss, config: TrainConfig, drawn: Draw, seconds: float
) -> dict[str, object]:
    row: dict[str, object] = {
        "step": progress.steps,
        "loss": loss.erase.item(),
        "lr": config.lr,
        "t": drawn.timestep,
        "seconds": round(seconds, 4),
        "memory_bytes": peak_memory(),
    }
    if loss.retain is not None:
        row["retain_loss"] = loss.retain.item()
    return row


def peak_memory() -> int:
    """Peak memory in bytes: of the CUDA device where one is used, else resident."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _forget_rows_after(log: Path, steps: int) -> None:
    """Drop the rows of steps that were done but not saved; they are done again."""
    if log.exists():
        rows = [row for row in read_jsonl(log) if int(str(row["step"])) <= steps]
        write_text(log, "".join(json.dumps(row) + "\n" for row in rows))
