"""A pool: N trajectories of S steps each, complete training pairs, in the machine's memory.

It may still be in sampling: then its trajectories, in groups that are sampled side by side, go down
to the noisiest t that nobody has asked for yet, when somebody asks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from esdctl.erasing.esd.step import Frozen
from esdctl.erasing.esd.trajectories.pooled_draw import PooledDraw


@dataclass(frozen=True)
class Pool:
    """The pairs of N trajectories; the first two dimensions of a tensor are (N, S).

    Args:
        x_t: (N, S, 4, h, w).
        timesteps: t of each, (N, S).
        prompts: which of the concept's prompts each trajectory follows, (N,).
        retained: which retained prompt ``kept`` is of, (N, S).
        empty, concept, source, kept: eps* under each condition, (N, S, 4, h, w); None where there
            is no such condition.
    """

    x_t: torch.Tensor
    timesteps: torch.Tensor
    prompts: torch.Tensor
    retained: torch.Tensor
    empty: torch.Tensor
    concept: torch.Tensor
    source: torch.Tensor | None
    kept: torch.Tensor | None

    def tensors(self) -> dict[str, torch.Tensor]:
        """What there is, by name."""
        return {name: tensor for name, tensor in vars(self).items() if tensor is not None}


def pool_of_tensors(tensors: dict[str, torch.Tensor]) -> Pool:
    """The pool whose ``tensors`` these are."""
    required = {name: tensors[name] for name in ("x_t", "timesteps", "prompts", "retained")}
    return Pool(
        **required,
        empty=tensors["empty"],
        concept=tensors["concept"],
        source=tensors.get("source"),
        kept=tensors.get("kept"),
    )


class PoolInSampling:
    """A pool whose pairs are sampled when they are first taken.

    What is sampled side by side does not depend on what is taken, so neither do the pairs.

    Args:
        groups: the choices of the trajectories that are sampled side by side, N in all.
        follow: samples a group of M: x_t and the frozen predictions there, (M, 4, h, w) each, one
            step after another.
        report: is given the number of pairs that there are, whenever it grows.
        at_each: the timesteps at places.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[PooledDraw]],
        follow: Callable[[Sequence[PooledDraw]], Iterator[tuple[torch.Tensor, Frozen]]],
        report: Callable[[int], None],
        at_each: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        drawn = [one for group in groups for one in group]
        self._sizes = [len(group) for group in groups]
        self._group_of = [index for index, group in enumerate(groups) for _ in group]
        self._samplers = [follow(group) for group in groups]
        self._done = [0] * len(groups)  # steps of each group
        self._report = report
        self._tensors: dict[str, torch.Tensor] = {
            "timesteps": at_each(torch.tensor([one.places for one in drawn])),
            "prompts": torch.tensor([one.prompt for one in drawn]),
            "retained": torch.tensor([one.retained for one in drawn]),
        }

    def down_to(self, rows: torch.Tensor, steps: torch.Tensor) -> Pool:
        """The pool, in which the pairs of these trajectories at these steps are there.

        Args:
            rows: of trajectories, (B,), 0..N-1.
            steps: of each, (B,), 0..S-1.
        """
        for row, step in zip(rows.tolist(), steps.tolist(), strict=True):
            while self._done[self._group_of[row]] <= step:
                self._advance(self._group_of[row])
        return pool_of_tensors(self._tensors)

    def whole(self) -> Pool:
        """The pool with all its pairs."""
        count, steps = self._tensors["timesteps"].shape
        return self.down_to(torch.arange(count), torch.full((count,), steps - 1))

    def _advance(self, group: int) -> None:
        """One more step of a group."""
        x_t, frozen = next(self._samplers[group])
        made = {
            "x_t": x_t, "empty": frozen.empty, "concept": frozen.concept,
            "source": frozen.source, "kept": frozen.retained,
        }  # fmt: skip
        first = sum(self._sizes[:group])
        rows = slice(first, first + self._sizes[group])
        for name, values in made.items():
            if values is None:
                continue
            if name not in self._tensors:
                shape = (*self._tensors["timesteps"].shape, *values.shape[1:])
                self._tensors[name] = torch.empty(shape, dtype=values.dtype)
            self._tensors[name][rows, self._done[group]] = values.cpu()
        self._done[group] += 1
        self._report(sum(size * done for size, done in zip(self._sizes, self._done, strict=True)))
