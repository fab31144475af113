"""The rolling trajectory: P student samples at staggered steps, trained on at each and moved on.

Each optimiser step trains on the next B of them where they are and moves each by one DDIM step with
the student's predictions; the conditional one serves both. A sample that is done starts again from
new noise. So x_t is the student's own, as in the exact trajectory, made by students a few steps
older.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import torch

from esdctl.diffusion.guidance import combine
from esdctl.diffusion.schedule import Schedule
from esdctl.diffusion.upload import upload
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.step import Conditions, Embeddings, Pairs, ask_frozen, conditions_of
from esdctl.erasing.esd.student import Student
from esdctl.erasing.esd.trajectories.pooled_draw import PooledDraw, pooled_draw

START = 2  # DDIM steps, at most, that bring a row to its first place
LATENTS = "latents"


@dataclass(frozen=True)
class _Row:
    """A sample that a step trains on.

    Args:
        slot: which of the P it is.
        is_new: whether it has never been trained on.
        drawn: the choices of the trajectory that it follows.
        place: how many of the trajectory's steps are behind it.
    """

    slot: int
    is_new: bool
    drawn: PooledDraw
    place: int

    @property
    def where(self) -> int:
        """Its place from picture to noise, 0..999."""
        return self.drawn.places[self.place]


@dataclass(frozen=True)
class RollingTrajectory:
    """P samples, B of them a step in turns; at any time they spread evenly over the S places.

    Args:
        student, schedule, embeddings, config: as in ``train``.
        latent_shape: (B, 4, h, w).
        mine: which of the B rows move here; they are always the same part of the P samples.
        state: where all samples are, (P, 4, h, w); goes into the checkpoint.
    """

    student: Student
    schedule: Schedule
    embeddings: Embeddings
    config: TrainConfig
    latent_shape: tuple[int, int, int, int]
    mine: slice = field(default_factory=lambda: slice(None))
    state: dict[str, torch.Tensor] = field(default_factory=dict)

    def pairs(self, step: int) -> Pairs:
        """The next rows where they are."""
        rows = self._rows(step)
        slots = [row.slot for row in rows]
        device = self.student.device
        conditions = self._conditions(rows)
        if rows[0].is_new:  # all rows of a step are as old
            self._keep(slots, self._start(rows, conditions))
        self.state[LATENTS] = self.state[LATENTS].to(device)  # a checkpoint's are elsewhere
        x_t = self.state[LATENTS][upload(torch.tensor(slots), device)]  # (B, 4, h, w)
        t = upload(self._timesteps(rows), device)  # (B,)

        def follow(prediction: torch.Tensor) -> None:
            self._keep(slots, self._advanced(step, rows, x_t, conditions, prediction))

        return Pairs(
            x_t, t, conditions, lambda: ask_frozen(self.student, x_t, t, conditions), follow
        )

    @property
    def _size(self) -> int:
        """P, a multiple of B."""
        rows = self.latent_shape[0]
        return rows * -(-self.config.pool_size // rows)

    def _rows(self, step: int) -> list[_Row]:
        """This step's samples here; those of all P / B steps of a round are different ones."""
        rows, size, steps = self.latent_shape[0], self._size, self.config.ddim_steps
        round_, first = divmod(step * rows, size)
        found = []
        for index in range(rows)[self.mine]:
            # Neighbours in a step are far apart in t: slots of a step are P / B apart.
            slot = (first // rows) + index * (size // rows)
            restarts, place = divmod(round_ + slot * steps // size, steps)
            drawn = pooled_draw(
                self.config.seed, restarts * size + slot, steps, len(self.embeddings.prompts),
                len(self.embeddings.retained or ()), self.latent_shape[1:],
            )  # fmt: skip
            found.append(_Row(slot, round_ == 0, drawn, place))
        return found

    def _timesteps(self, rows: list[_Row]) -> torch.Tensor:
        """Where rows are, (B,), on the CPU."""
        return self.schedule.at_each(torch.tensor([row.where for row in rows]))

    def _keep(self, slots: list[int], latents: torch.Tensor) -> None:
        if LATENTS not in self.state:
            self.state[LATENTS] = latents.new_zeros(self._size, *self.latent_shape[1:])
        kept = self.state[LATENTS]
        kept[upload(torch.tensor(slots), kept.device)] = latents.to(kept.device)

    def _conditions(self, rows: list[_Row]) -> Conditions:
        keeps = self.config.retain_weight > 0
        return conditions_of(
            self.embeddings,
            [row.drawn.prompt for row in rows],
            [row.drawn.retained[row.place] for row in rows] if keeps else None,
            self.student.device,
        )

    @torch.no_grad()
    def _advanced(
        self,
        step: int,
        rows: list[_Row],
        x_t: torch.Tensor,
        conditions: Conditions,
        prediction: torch.Tensor,
    ) -> torch.Tensor:
        """Where the rows are when it is their turn again, (B, 4, h, w)."""
        following = self._rows(step + self._size // self.latent_shape[0])
        moved = self._moved(
            x_t, self._timesteps(rows), self._timesteps(following), conditions, prediction
        )
        for index, row in enumerate(following):
            if row.place == 0:
                moved[index] = upload(row.drawn.noise, moved.device)
        return moved

    @torch.no_grad()
    def _start(self, rows: list[_Row], conditions: Conditions) -> torch.Tensor:
        """The rows at their first places, in a few long steps from their noise, (B, 4, h, w).

        The way there is coarse, but whole trajectories would cost more than the first steps give.
        """
        x_t = upload(torch.stack([row.drawn.noise for row in rows]), self.student.device)
        first = torch.tensor([row.drawn.places[0] for row in rows])
        last = torch.tensor([row.where for row in rows])
        between = (first + (last - first) * part // START for part in range(START + 1))
        path = [self.schedule.at_each(places) for places in between]
        for t, t_next in pairwise(path):
            asked = self.student.denoise(x_t, upload(t, x_t.device), conditions.asked)
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
            empty = self.student.denoise(x_t, upload(t, x_t.device), conditions.empty)
            prediction = combine(empty, prediction, scale)
        return self.schedule.step(prediction, x_t, t, t_next)
