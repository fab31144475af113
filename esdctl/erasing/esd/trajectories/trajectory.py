"""Where x_t comes from: ``exact``, ``frozen`` or ``rolling``, behind one Protocol.

    exact     the present student's samples, stopped at one t: S U-Net passes a step, then 4
    frozen    the frozen model's samples; every step of one is a pair: 2 passes a pair, then 1
    rolling   student samples that move on by one DDIM step with each training step: 4 a pair

Passes are counted without the one backward. A retained prompt adds one of the frozen copy and one
of the student.
"""

from typing import Protocol

import torch

from esdctl.diffusion.schedule import Schedule
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.step import Embeddings, Pairs
from esdctl.erasing.esd.student import Student
from esdctl.erasing.esd.trajectories.exact import ExactTrajectory
from esdctl.erasing.esd.trajectories.frozen import FrozenTrajectory
from esdctl.erasing.esd.trajectories.pool_folder import PoolFolder
from esdctl.erasing.esd.trajectories.rolling import RollingTrajectory
from esdctl.progress import Reporter


class Trajectory(Protocol):
    """Gives each step its rows."""

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint has to hold besides the number of steps; changed in place.

        Its rows belong to the processes of a team in the same parts as those of a step.
        """

    def pairs(self, step: int) -> Pairs:
        """The rows here of a step, which is 0 or the one after the last one asked for or saved."""


def open_trajectory(
    student: Student,
    schedule: Schedule,
    embeddings: Embeddings,
    config: TrainConfig,
    latent_shape: tuple[int, int, int, int],
    reporter: Reporter,
    pools: PoolFolder | None = None,
    mine: slice = slice(None),
) -> Trajectory:
    """The trajectory that the settings name.

    Args:
        student, schedule, embeddings, config, latent_shape: as in ``train``.
        reporter: told of the sampling of a pool.
        pools: where ``frozen`` keeps its pools; None for memory alone.
        mine: which of a step's rows are this process's.
    """
    if config.trajectory == "frozen":
        return FrozenTrajectory(
            student, schedule, embeddings, config, latent_shape, reporter, pools, mine
        )
    if config.trajectory == "rolling":
        return RollingTrajectory(student, schedule, embeddings, config, latent_shape, mine)
    return ExactTrajectory(student, schedule, embeddings, config, latent_shape, mine)
