"""The rolling trajectory: B student samples at staggered steps, trained on at each and moved on.

Each optimiser step trains on all B rows where they are and moves each by one DDIM step with the
student's predictions; the conditional one serves both. A row that is done starts again from new
noise. So x_t is the student's own, as in the exact trajectory, made by students a few steps older.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import torch

from esdctl.diffusion.ddim import ddim_step
from esdctl.diffusion.guidance import combine
from esdctl.diffusion.schedule import Schedule
from esdctl.esd.config import TrainConfig
from esdctl.esd.pooled_draw import PooledDraw, pooled_draw
from esdctl.esd.step import Conditions, Embeddings, Pairs, ask_frozen, conditions_of
from esdctl.esd.student import Student

START = 2  # DDIM steps, at most, that bring a row to its first place
LATENTS = "latents"


@dataclass(frozen=True)
class RollingTrajectory:
    """B rows; row i is at step (k + offset) mod S of its trajectory, and S spreads over the rows.

    Args:
        student, schedule, embeddings, config: as in ``train``.
        latent_shape: (B, 4, h, w).
        state: where the rows are, (B, 4, h, w); goes into the checkpoint.
    """

    student: Student
    schedule: Schedule
    embeddings: Embeddings
    config: TrainConfig
    latent_shape: tuple[int, int, int, int]
    state: dict[str, torch.Tensor] = field(default_factory=dict)

    def pairs(self, step: int) -> Pairs:
        """The rows where they are."""
        rows = [self._row(step, index) for index in range(self.latent_shape[0])]
        if LATENTS not in self.state:
            self.state[LATENTS] = self._start(rows)
        device = self.student.device
        x_t = self.state[LATENTS].to(device)  # (B, 4, h, w)
        t = torch.tensor([drawn.timesteps[place] for drawn, place in rows], device=device)  # (B,)
        conditions = self._conditions(rows)

        def follow(prediction: torch.Tensor) -> None:
            self._advance(step, rows, x_t, conditions, prediction)

        return Pairs(
            x_t, t, conditions, lambda: ask_frozen(self.student, x_t, t, conditions), follow
        )

    def _row(self, step: int, index: int) -> tuple[PooledDraw, int]:
        """The trajectory that a row follows at a step, and the place in it."""
        rows, steps = self.latent_shape[0], self.config.ddim_steps
        restarts, place = divmod(step + index * steps // rows, steps)
        drawn = pooled_draw(
            self.config.seed, restarts * rows + index, steps, len(self.embeddings.prompts),
            len(self.embeddings.retained or ()), self.latent_shape[1:],
        )  # fmt: skip
        return drawn, place

    def _conditions(self, rows: list[tuple[PooledDraw, int]]) -> Conditions:
        keeps = self.config.retain_weight > 0
        return conditions_of(
            self.embeddings,
            [drawn.prompt for drawn, _ in rows],
            [drawn.retained[place] for drawn, place in rows] if keeps else None,
            self.student.device,
        )

    @torch.no_grad()
    def _advance(
        self,
        step: int,
        rows: list[tuple[PooledDraw, int]],
        x_t: torch.Tensor,
        conditions: Conditions,
        prediction: torch.Tensor,
    ) -> None:
        """One DDIM step for each row; where it was the last, new noise."""
        t = torch.tensor([drawn.timesteps[place] for drawn, place in rows])
        following = [self._row(step + 1, index) for index in range(len(rows))]
        t_next = torch.tensor([drawn.timesteps[place] for drawn, place in following])
        moved = self._moved(x_t, t, t_next, conditions, prediction)
        for index, (drawn, place) in enumerate(following):
            if place == 0:
                moved[index] = drawn.noise
        self.state[LATENTS] = moved

    @torch.no_grad()
    def _start(self, rows: list[tuple[PooledDraw, int]]) -> torch.Tensor:
        """The rows at their first places, in a few long steps from their noise, (B, 4, h, w).

        The way there is coarse, but whole trajectories would cost more than the first steps give.
        """
        conditions = self._conditions(rows)
        x_t = torch.stack([drawn.noise for drawn, _ in rows]).to(self.student.device)
        first = torch.tensor([drawn.timesteps[0] for drawn, _ in rows])
        last = torch.tensor([drawn.timesteps[place] for drawn, place in rows])
        path = [first + (last - first) * part // START for part in range(START + 1)]
        for t, t_next in pairwise(path):
            asked = self.student.denoise(x_t, t.to(x_t.device), conditions.asked)
            x_t = self._moved(x_t, t, t_next, conditions, asked)
        return x_t

    def _moved(
        self,
        x_t: torch.Tensor,
        t: torch.Tensor,
        t_next: torch.Tensor,
        conditions: Conditions,
        prediction: torch.Tensor,
    ) -> torch.Tensor:
        """x_{t_next}, (B, 4, h, w), by the guided prediction; that for the prompt is given."""
        scale = self.config.start_guidance
        if scale != 1.0:
            empty = self.student.denoise(x_t, t.to(x_t.device), conditions.empty)
            prediction = combine(empty, prediction, scale)
        return ddim_step(self.schedule, prediction, x_t, t, t_next)
