"""The frozen trajectory: each guided step of the frozen U-Net is a complete training pair.

A guided step computes eps*(x_t, t, 0) and eps*(x_t, t, c), which are the terms of the target at
that very x_t. N trajectories of S steps are sampled side by side, kept as N S pairs, used some
times over, and replaced by the next N. A mini-batch takes its rows from different trajectories and
evenly over t.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from esdctl.diffusion.ddim import ddim_step
from esdctl.diffusion.guidance import combine
from esdctl.diffusion.schedule import Schedule
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.step import Embeddings, Frozen, Pairs, ask_frozen, conditions_of
from esdctl.erasing.esd.student import Student
from esdctl.erasing.esd.trajectories.pool import Pool, join, pool_of_steps
from esdctl.erasing.esd.trajectories.pool_folder import PoolFolder
from esdctl.erasing.esd.trajectories.pooled_draw import PooledDraw, pooled_draw
from esdctl.erasing.randomness import generator_at
from esdctl.progress import Reporter

TASK = "pool"
AT_ONCE = 2 * 64 * 64  # latent pixels sampled side by side: two pictures of 512 px, 32 of 128 px
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
        state: nothing; a step depends on its number alone.
    """

    student: Student
    schedule: Schedule
    embeddings: Embeddings
    config: TrainConfig
    latent_shape: tuple[int, int, int, int]
    reporter: Reporter
    folder: PoolFolder | None = None
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    _number: int = -1
    _pool: Pool | None = None

    def pairs(self, step: int) -> Pairs:
        """Rows of the pool that this step belongs to."""
        pool = self._pool_of(step)
        rows, bins = self._rows(step)
        device = self.student.device

        def pick(kept: torch.Tensor) -> torch.Tensor:
            return kept[rows, bins].to(device)

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

    def _pool_of(self, step: int) -> Pool:
        """The pool in use at a step, sampled or read when it is first needed."""
        config = self.config
        pairs = config.pool_size * config.ddim_steps * config.pool_uses
        number = step // max(1, round(pairs / self.latent_shape[0]))
        if self._pool is None or self._number != number:
            self._pool = None  # give its memory back before the next one is made
            kept = None if self.folder is None else self.folder.read(number)
            self._pool = kept or self._sample(number)
            self._number = number
            if self.folder is not None and kept is None:
                self.folder.write(number, self._pool)
        return self._pool

    def _rows(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Which trajectories and bins a step takes, (B,) each: a function of (seed, step).

        The bins are a systematic sample: one random offset, then even distances.
        """
        count, steps = self.latent_shape[0], self.config.ddim_steps
        generator = generator_at(self.config.seed, _STREAM, step)
        order = torch.randperm(self.config.pool_size, generator=generator)
        rows = order.repeat(-(-count // len(order)))[:count]
        places = (torch.rand(1, generator=generator) + torch.arange(count)) / count  # in 0..1
        bins = (places * steps).long().clamp(max=steps - 1)
        return rows, bins

    def _sample(self, number: int) -> Pool:
        """The trajectories of one pool, a few side by side."""
        config, size = self.config, self.config.pool_size
        drawn = [
            pooled_draw(
                config.seed, number * size + index, config.ddim_steps,
                len(self.embeddings.prompts), len(self.embeddings.retained or ()),
                self.latent_shape[1:],
            )
            for index in range(size)
        ]  # fmt: skip
        at_once = max(1, AT_ONCE // (self.latent_shape[2] * self.latent_shape[3]))
        self.reporter.started(TASK, size * config.ddim_steps, "pairs")
        pools: list[Pool] = []
        for start in range(0, size, at_once):
            few = drawn[start : start + at_once]
            steps = []
            for made in self._follow(few):
                steps.append(made)
                self.reporter.advanced(TASK, start * config.ddim_steps + len(steps) * len(few))
            pools.append(pool_of_steps(few, steps))
        self.reporter.finished(TASK)
        return join(pools)

    def _follow(self, drawn: list[PooledDraw]) -> Iterator[tuple[torch.Tensor, Frozen]]:
        """x_t and the frozen predictions there, at each step of M trajectories side by side."""
        config, device = self.config, self.student.device
        keeps = config.retain_weight > 0
        x_t = torch.stack([one.noise for one in drawn]).to(device)  # (M, 4, h, w)
        timesteps = torch.tensor([one.timesteps for one in drawn])  # (M, S)
        for index in range(config.ddim_steps):
            t = timesteps[:, index]
            conditions = conditions_of(
                self.embeddings,
                [one.prompt for one in drawn],
                [one.retained[index] for one in drawn] if keeps else None,
                device,
            )
            frozen = ask_frozen(self.student, x_t, t.to(device), conditions)
            yield x_t, frozen
            if index + 1 < config.ddim_steps:
                asked = frozen.concept if frozen.source is None else frozen.source
                guided = combine(frozen.empty, asked, config.start_guidance)
                x_t = ddim_step(self.schedule, guided, x_t, t, timesteps[:, index + 1])
