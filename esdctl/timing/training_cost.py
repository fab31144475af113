"""What a step of a training costs: each kind of pass measured once, times how often it is made."""

from dataclasses import dataclass
from functools import partial

import torch

from esdctl.diffusion.schedule import Schedule
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.prepare import Prepared
from esdctl.erasing.esd.update import Update
from esdctl.models.stopwatch import seconds_of
from esdctl.timing.passes import Pass, Passes, count_passes


@dataclass(frozen=True)
class TrainingCost:
    """What was counted and measured.

    Args:
        passes: how many of each kind a step.
        seconds: of each kind, the optimiser's step included where one follows.
    """

    passes: Passes
    seconds: dict[Pass, float]

    @property
    def seconds_a_step(self) -> float:
        """On average, the making of the step's rows included."""
        return sum(self.seconds[kind] * n for kind, n in self.passes.counts.items())

    @property
    def seconds_a_pair(self) -> float:
        """Of a step of B pairs, the B-th part."""
        return self.seconds_a_step / self.passes.pairs


def measure_training(
    ready: Prepared, schedule: Schedule, config: TrainConfig, batch_size: int
) -> TrainingCost:
    """Count a run's passes and measure one of each kind, beside gradients and Adam's moments.

    The memory in use is afterwards at its peak of a real step's. No parameter changes.

    Args:
        ready: the student and all embeddings.
        schedule: the model's.
        config: of the run.
        batch_size: latents a step.
    """
    student = ready.student
    passes = count_passes(schedule, ready.embeddings, config, (batch_size, *ready.latent))
    # A learning rate of 0 leaves the parameters as they are, and costs the same.
    update = Update(student, 0.0, config.gradient_checkpointing, optimizer=config.optimizer)
    seconds: dict[Pass, float] = {}
    for kind in sorted(passes.counts, key=lambda kind: (not kind.is_trained, kind.rows)):
        seconds[kind] = seconds_of(student.device, partial(_make, ready, kind, update))
    return TrainingCost(passes, seconds)


def _make(ready: Prepared, kind: Pass, update: Update) -> None:
    student, device = ready.student, ready.student.device
    latents = torch.randn((kind.rows, *ready.latent), device=device)
    t = torch.full((kind.rows,), 500, device=device)
    conditions = ready.embeddings.empty.to(device).expand(kind.rows)
    with torch.set_grad_enabled(kind.is_trained):
        prediction = student.denoise(latents, t, conditions)
        if kind.is_trained:
            update(prediction.square().mean())
