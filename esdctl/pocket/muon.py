"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal before they are applied.

torch.optim.Muon takes matrices alone; the networks here are mostly convolutions, whose kernels are
flattened to (out, in * height * width). Everything that is no matrix is left to AdamW.
"""

from collections import defaultdict
from collections.abc import Callable

import torch
from torch import nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan et al., quintic Newton-Schulz
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum for matrices, AdamW for the rest.

    Args:
        module: whose parameters to train.
        lr: of AdamW; matrices are scaled so that the same rate suits them (Liu et al. 2025, eq. 4).
        momentum: of the matrices.
        betas: of AdamW.
    """

    def __init__(
        self,
        module: nn.Module,
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        parameters = list(module.parameters())
        matrices = [p for p in parameters if p.ndim >= 2 and min(p.shape[:2]) > 4]
        chosen = {id(p) for p in matrices}
        rest = [p for p in parameters if id(p) not in chosen]
        groups = [
            {"params": matrices, "matrices": True, "momentum": momentum},
            {"params": rest, "matrices": False, "betas": betas},
        ]
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Apply one update to every parameter that has a gradient."""
        matrices, rest = self.param_groups
        self._step_matrices(matrices)
        self._step_rest(rest)

    def _step_matrices(self, group: dict) -> None:  # type: ignore[type-arg]
        by_shape = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                by_shape[(parameter.shape[0], parameter[0].numel())].append(parameter)
        for (rows, columns), members in by_shape.items():
            updates = []
            for parameter in members:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                buffer = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                updates.append(
                    parameter.grad.lerp(buffer, group["momentum"]).reshape(rows, columns)
                )
            scale = group["lr"] * 0.2 * max(rows, columns) ** 0.5
            for parameter, update in zip(members, orthogonal(torch.stack(updates)), strict=True):
                parameter.sub_(update.view(parameter.shape), alpha=scale)

    def _step_rest(self, group: dict) -> None:  # type: ignore[type-arg]
        first, second = group["betas"]
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if not state:
                state["mean"] = torch.zeros_like(parameter)
                state["square"] = torch.zeros_like(parameter)
                state["step"] = torch.zeros(())
            state["step"] += 1
            state["mean"].lerp_(parameter.grad, 1 - first)
            state["square"].lerp_(parameter.grad.square(), 1 - second)
            correction = float(1 - first ** state["step"]), float(1 - second ** state["step"])
            spread = (state["square"] / correction[1]).sqrt_().add_(1e-8)
            parameter.addcdiv_(state["mean"] / correction[0], spread, value=-group["lr"])


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest semi-orthogonal matrices by five Newton-Schulz steps, (N, rows, columns)."""
    a, b, c = COEFFICIENTS
    wide = matrices.shape[1] <= matrices.shape[2]
    x: torch.Tensor = matrices if wide else matrices.transpose(1, 2)
    # bf16 is enough, since the iteration corrects itself, and four times as fast.
    x = (x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)).bfloat16()
    for _ in range(ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    x = x.to(matrices.dtype)
    return x if wide else x.transpose(1, 2)
