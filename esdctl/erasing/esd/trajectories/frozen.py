"""The frozen trajectory: each guided step of the frozen U-Net is a complete training pair.

A guided step computes eps*(x_t, t, 0) and eps*(x_t, t, c), which are the terms of the target at
that very x_t. N trajectories of S steps are sampled as far as training takes from them, kept as
pairs, used some times over, and replaced by the next N. A mini-batch takes its rows from different
trajectories and evenly over t.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from esdctl.diffusion.guidance import combine
from esdctl.diffusion.schedule import Schedule
from esdctl.diffusion.upload import upload
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.step import Embeddings, Frozen, Pairs, ask_frozen, conditions_of
from esdctl.erasing.esd.student import Student
from esdctl.erasing.esd.trajectories.pool import Pool, PoolInSampling
from esdctl.erasing.esd.trajectories.pool_folder import PoolFolder
from esdctl.erasing.esd.trajectories.pooled_draw import PooledDraw, pooled_draw
from esdctl.erasing.randomness import generator_at
from esdctl.progress import Reporter

TASK = "pool"
AT_ONCE = 2 * 64 * 64  # latent pixels sampled side by side: two pictures of 512 px, 32 of 128 px
PARTS = 4  # of a pool: the first step waits for one of them, and only down to its own t
_STREAM = 2  # of the choice of rows


@dataclass
class FrozenTrajectory:
    """Pairs from the frozen U-Net's own sampling.

    Args:
        student: its frozen copy samples.
        schedule, embeddings, config: as in ``train``.
        latent_shape: (B, 4, h, w).
        reporter: told when a pool is sampled.
        folder: where pools are kept; None for memory alone.
        mine: which of the B rows are taken here.
        state: nothing; a step depends on its number alone.
    """

    student: Student
    schedule: Schedule
    embeddings: Embeddings
    config: TrainConfig
    latent_shape: tuple[int, int, int, int]
    reporter: Reporter
    folder: PoolFolder | None = None
    mine: slice = field(default_factory=lambda: slice(None))
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    _number: int = -1
    _pool: Pool | PoolInSampling | None = None

    def pairs(self, step: int) -> Pairs:
        """Rows of the pool that this step belongs to."""
        rows, bins = self._rows(step)
        pool = self._pool_of(step, rows, bins)
        device = self.student.device

        def pick(kept: torch.Tensor) -> torch.Tensor:
            return upload(kept[rows, bins], device)

        prompts = pool.prompts[rows].tolist()
        retained = None if pool.kept is None else pool.retained[rows, bins].tolist()
        conditions = conditions_of(self.embeddings, prompts, retained, device)
        frozen = Frozen(
            pick(pool.empty),
            pick(pool.concept),
            None if pool.source is None else pick(pool.source),
            None if pool.kept is None else pick(pool.kept),
        )
        return Pairs(pick(pool.x_t), pick(pool.timesteps), conditions, lambda: frozen)

    def _pool_of(self, step: int, rows: torch.Tensor, bins: torch.Tensor) -> Pool:
        """The pool in use at a step, sampled as far as the step's rows; read if it was kept."""
        config = self.config
        pairs = config.pool_size * config.ddim_steps * config.pool_uses
        number = step // max(1, round(pairs / self.latent_shape[0]))
        if self._pool is None or self._number != number:
            self._pool = None  # give its memory back before the next one is made
            self._pool = self._kept(number) or self._begin(number)
            self._number = number
        if isinstance(self._pool, Pool):
            return self._pool
        return self._pool.down_to(rows, bins)

    def _kept(self, number: int) -> Pool | None:
        """A pool of the folder, sampled whole for it where it is not there; None without one."""
        if self.folder is None:
            return None
        kept = self.folder.read(number)
        if kept is None:
            kept = self._begin(number).whole()
            self.folder.write(number, kept)
        return kept

    def _rows(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Which trajectories and bins this step takes here: a function of (seed, step).

        The bins are a systematic sample: one random offset, then even distances.
        """
        count, steps = self.latent_shape[0], self.config.ddim_steps
        generator = generator_at(self.config.seed, _STREAM, step)
        order = torch.randperm(self.config.pool_size, generator=generator)
        rows = order.repeat(-(-count // len(order)))[:count]
        places = (torch.rand(1, generator=generator) + torch.arange(count)) / count  # in 0..1
        bins = (places * steps).long().clamp(max=steps - 1)
        return rows[self.mine], bins[self.mine]

    def _begin(self, number: int) -> PoolInSampling:
        """A pool of which nothing is sampled yet; a few trajectories go side by side."""
        config, size = self.config, self.config.pool_size
        drawn = [
            pooled_draw(
                config.seed, number * size + index, config.ddim_steps,
                len(self.embeddings.prompts), len(self.embeddings.retained or ()),
                self.latent_shape[1:],
            )
            for index in range(size)
        ]  # fmt: skip
        fitting = AT_ONCE // (self.latent_shape[2] * self.latent_shape[3])
        at_once = max(1, min(fitting, size // PARTS))
        groups = [drawn[start : start + at_once] for start in range(0, size, at_once)]
        self.reporter.started(TASK, size * config.ddim_steps, "pairs")
        return PoolInSampling(groups, self._follow, self._report_pairs, self.schedule.at_each)

    def _report_pairs(self, pairs: int) -> None:
        self.reporter.advanced(TASK, pairs)
        if pairs == self.config.pool_size * self.config.ddim_steps:
            self.reporter.finished(TASK)

    def _follow(self, drawn: Sequence[PooledDraw]) -> Iterator[tuple[torch.Tensor, Frozen]]:
        """x_t and the frozen predictions there, at each step of M trajectories side by side."""
        config, device = self.config, self.student.device
        keeps = config.retain_weight > 0
        x_t = upload(torch.stack([one.noise for one in drawn]), device)  # (M, 4, h, w)
        timesteps = self.schedule.at_each(torch.tensor([one.places for one in drawn]))  # (M, S)
        for index in range(config.ddim_steps):
            t = timesteps[:, index]
            conditions = conditions_of(
                self.embeddings,
                [one.prompt for one in drawn],
                [one.retained[index] for one in drawn] if keeps else None,
                device,
            )
            frozen = ask_frozen(self.student, x_t, upload(t, device), conditions)
            yield x_t, frozen
            if index + 1 < config.ddim_steps:
                asked = frozen.concept if frozen.source is None else frozen.source
                guided = combine(frozen.empty, asked, config.start_guidance)
                x_t = self.schedule.step(guided, x_t, t, timesteps[:, index + 1])
