"""What a step of a training costs: each kind of pass measured once, times how often it is made."""

from dataclasses import dataclass
from functools import partial

import torch

from esdctl.benchmark.passes import Pass, Passes, count_passes
from esdctl.benchmark.stopwatch import seconds_of
from esdctl.diffusion.schedule import Schedule
from esdctl.esd.config import TrainConfig
from esdctl.esd.prepare import Prepared


@dataclass(frozen=True)
class TrainingCost:
    """What was counted and measured.

    Args:
        passes: how many of each kind a step.
        seconds: of each kind.
        optimiser_seconds: of an update of the selected parameters.
    """

    passes: Passes
    seconds: dict[Pass, float]
    optimiser_seconds: float

    @property
    def seconds_a_step(self) -> float:
        """On average, the making of the step's rows included."""
        passes = sum(self.seconds[kind] * n for kind, n in self.passes.counts.items())
        return passes + self.optimiser_seconds

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
    optimizer = torch.optim.Adam(student.selected.values(), lr=0.0, fused=True)
    seconds: dict[Pass, float] = {}
    for kind in sorted(passes.counts, key=lambda kind: (not kind.is_trained, kind.rows)):
        seconds[kind] = seconds_of(student.device, partial(_make, ready, kind, optimizer))
        if kind.is_trained:
            optimizer.step()  # the moments are there from now on
    update = seconds_of(student.device, optimizer.step)
    optimizer.zero_grad(set_to_none=True)
    return TrainingCost(passes, seconds, update)


def _make(ready: Prepared, kind: Pass, optimizer: torch.optim.Optimizer) -> None:
    student, device = ready.student, ready.student.device
    latents = torch.randn((kind.rows, *ready.latent), device=device)
    t = torch.full((kind.rows,), 500, device=device)
    conditions = ready.embeddings.empty.to(device).expand(kind.rows)
    with torch.set_grad_enabled(kind.is_trained):
        prediction = student.denoise(latents, t, conditions)
        if kind.is_trained:
            loss = prediction.square().mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
