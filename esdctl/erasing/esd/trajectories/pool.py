"""A pool: N trajectories of S steps each, complete training pairs, in the machine's memory."""

from collections.abc import Sequence
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


def pool_of_steps(
    drawn: Sequence[PooledDraw], steps: Sequence[tuple[torch.Tensor, Frozen]]
) -> Pool:
    """What was sampled side by side, put together.

    Args:
        drawn: the trajectories' choices, M of them.
        steps: x_t and the frozen predictions there, (M, 4, h, w) each, one a step.
    """

    def stack(tensors: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
        found = [tensor.cpu() for tensor in tensors if tensor is not None]
        return torch.stack(found, dim=1) if found else None  # (M, S, 4, h, w)

    return Pool(
        x_t=torch.stack([x_t.cpu() for x_t, _ in steps], dim=1),
        timesteps=torch.tensor([one.timesteps for one in drawn]),
        prompts=torch.tensor([one.prompt for one in drawn]),
        retained=torch.tensor([one.retained for one in drawn]),
        empty=torch.stack([frozen.empty.cpu() for _, frozen in steps], dim=1),
        concept=torch.stack([frozen.concept.cpu() for _, frozen in steps], dim=1),
        source=stack([frozen.source for _, frozen in steps]),
        kept=stack([frozen.retained for _, frozen in steps]),
    )


def join(pools: Sequence[Pool]) -> Pool:
    """All trajectories of pools of one kind, in their order."""
    names = pools[0].tensors()
    return pool_of_tensors(
        {name: torch.cat([pool.tensors()[name] for pool in pools]) for name in names}
    )
