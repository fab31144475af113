"""How many passes through the U-Net a training makes: counted on a U-Net that computes nothing."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from esdctl.diffusion.conditioning import Conditioning
from esdctl.diffusion.schedule import Schedule
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.step import Embeddings, step_loss
from esdctl.erasing.esd.student import Student
from esdctl.erasing.esd.trajectories.trajectory import open_trajectory
from esdctl.erasing.training_length import steps_of
from esdctl.models.families.family import Denoiser
from esdctl.progress import Silent

COUNTED = 300  # steps; the others are like them
BACKWARD = 2  # a backward pass in forward ones: gradients of the inputs and of the weights


@dataclass(frozen=True, order=True)
class Pass:
    """A kind of pass through the U-Net.

    Args:
        rows: of its batch.
        is_trained: whether a backward pass follows.
    """

    rows: int
    is_trained: bool


@dataclass(frozen=True)
class Passes:
    """What a number of steps costs.

    Args:
        counts: passes of each kind a step, on average.
        pairs: training pairs a step.
    """

    counts: dict[Pass, float]
    pairs: int

    @property
    def forwards_a_pair(self) -> float:
        """Forward-equivalents: rows, and thrice those that a backward pass follows, a pair."""
        rows = sum(
            kind.rows * count * (1 + BACKWARD * kind.is_trained)
            for kind, count in self.counts.items()
        )
        return rows / self.pairs


def count_passes(
    schedule: Schedule,
    embeddings: Embeddings,
    config: TrainConfig,
    latent_shape: tuple[int, int, int, int],
) -> Passes:
    """Run the trajectory and the loss of the first steps, and note what they ask.

    Args:
        schedule, embeddings, config, latent_shape: as in ``train``.
    """
    network = _Counter()
    student = Student(network, _COUNTED_KIND, {"nothing": network.nothing}, {})
    trajectory = open_trajectory(student, schedule, embeddings, config, latent_shape, Silent())
    steps = max(1, min(steps_of(config, latent_shape[0]), COUNTED))
    for step in range(steps):
        pairs = trajectory.pairs(step)
        loss = step_loss(student, pairs, config.negative_guidance)
        pairs.follow(loss.prediction)
    counts = {kind: count / steps for kind, count in sorted(network.seen.items())}
    return Passes(counts, latent_shape[0])


def _ask(
    latents: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (latents,), {}


_COUNTED_KIND = Denoiser("unet", _ask, lambda made, config: NotImplemented, lambda config: False)


class _Counter(nn.Module):
    """Predicts zeros, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        self.seen: Counter[Pass] = Counter()

    def forward(self, latents: torch.Tensor) -> list[object]:
        self.seen[Pass(len(latents), torch.is_grad_enabled())] += 1
        return [torch.zeros_like(latents) + self.nothing]
