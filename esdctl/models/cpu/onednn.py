"""Products of matrices by oneDNN, without gradient.

The convolutions go there already. torch sends linear layers to MKL, which on AMD's processors
reaches less than half of the speed: 105 against 245 Gflop/s on one core of the machine that
tests/measurements/README.md names. torch's own compiler calls these operators, too.
"""

import platform

import torch
from torch import nn


def has_onednn() -> bool:
    """Whether this torch has the operators, on a processor where they are known to be fast."""
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    has_operators = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return is_x86 and torch.backends.mkldnn.is_available() and has_operators


def product(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, then: str = "none"
) -> torch.Tensor:
    """x W' + b, and an activation of it: (..., I), (O, I), (O,) -> (..., O)."""
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise.default(
        x, weight, bias, then, [], "none"
    )
    return result


def sum_with(
    residual: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """x W' + b + residual in one pass."""
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise.binary(
        x, residual, weight, bias, "add"
    )
    return result


class Linear(nn.Module):
    """x W' + b."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return product(x, self.weight, self.bias)
