"""Attention for prediction alone; what depends on the prompts is computed once a trajectory.

Rows that are asked the same thing, as guidance's unconditional ones are, share keys and values.
Theirs are multiplied into the layer's own matrices, and four products become two:

    softmax(s (y Q') K') V O'  =  softmax(y M') N',    M = s K Q,    N = O V'

for each head, and for all heads side by side.
"""

from collections.abc import Callable

import torch
from diffusers.models import attention_processor
from torch import nn
from torch.nn import functional as F

from esdctl.models.cpu.onednn import product, sum_with

KeysAndValues = tuple[torch.Tensor, torch.Tensor]  # (B, heads, N, d) each
Mix = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # y, residual -> (B, N, C)

# An oneDNN product does so many times the sums of torch's attention in the same time, which
# decides whether the larger matrices of many heads pay.
FASTER = 4


class Attention(nn.Module):
    """Queries, keys and values, beside what they started from."""

    def __init__(self, layer: attention_processor.Attention) -> None:
        super().__init__()
        self.heads, self.scale = layer.heads, layer.scale
        self.to_q, self.to_k, self.to_v = layer.to_q, layer.to_k, layer.to_v
        self.to_out = layer.to_out[0]

    def context(self, y: torch.Tensor) -> KeysAndValues:
        """Keys and values: (B, N, C) -> (B, heads, N, d) each."""
        keys, values = (product(y, to.weight, to.bias) for to in (self.to_k, self.to_v))
        return self._split(keys), self._split(values)

    def forward(
        self, y: torch.Tensor, context: KeysAndValues, residual: torch.Tensor
    ) -> torch.Tensor:
        queries = self._split(product(y, self.to_q.weight, self.to_q.bias))
        mixed = F.scaled_dot_product_attention(queries, *context, scale=self.scale)
        joined = mixed.transpose(1, 2).flatten(2)  # (B, N, C)
        return sum_with(residual, joined, self.to_out.weight, self.to_out.bias)

    def _split(self, projected: torch.Tensor) -> torch.Tensor:
        heads: torch.Tensor = projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return heads


class CrossAttention(Attention):
    """Attention to prompts, which are asked for again and again."""

    def __init__(self, layer: attention_processor.Attention) -> None:
        super().__init__(layer)
        self._prompts: torch.Tensor | None = None
        self._parts: list[tuple[slice, Mix]] = []

    def forward(  # type: ignore[override]  # prompts in place of their keys and values
        self, y: torch.Tensor, prompts: torch.Tensor, residual: torch.Tensor
    ) -> torch.Tensor:
        """(B, N, C), (B, 77, D), (B, N, C) -> (B, N, C)."""
        if self._prompts is not prompts:
            self._parts = [(rows, self._part(prompts[rows])) for rows in _parts(prompts)]
            self._prompts = prompts
        mixed = [mix(y[rows], residual[rows]) for rows, mix in self._parts]
        return mixed[0] if len(mixed) == 1 else torch.cat(mixed)

    def _part(self, prompts: torch.Tensor) -> Mix:
        length, width = prompts.shape[1], self.to_out.weight.shape[1]
        pays = self.heads * length <= width + FASTER * length
        if pays and len(prompts) > 1 and _is_alike(prompts):
            return self._folded(self.context(prompts[:1]))
        context = self.context(prompts)
        return lambda y, residual: Attention.forward(self, y, context, residual)

    def _folded(self, context: KeysAndValues) -> Mix:
        """Both matrices of one prompt: M, (heads 77, C), and N, (C, heads 77)."""
        keys, values = (each[0] for each in context)  # (heads, 77, d)
        queries = self.to_q.weight.unflatten(0, (self.heads, -1))  # (heads, d, C)
        out = self.to_out.weight.unflatten(1, (self.heads, -1)).transpose(0, 1)  # (heads, C, d)
        m = (self.scale * keys @ queries).flatten(0, 1)
        n = (values @ out.transpose(1, 2)).flatten(0, 1).T.contiguous()
        length = keys.shape[1]

        def mix(y: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
            scores = product(y, m, None).unflatten(-1, (self.heads, length))
            return sum_with(residual, scores.softmax(-1).flatten(2), n, self.to_out.bias)

        return mix


def _parts(prompts: torch.Tensor) -> list[slice]:
    """The first rows that are alike, as guidance's unconditional ones are, and the others."""
    others = (row for row in range(len(prompts)) if not torch.equal(prompts[row], prompts[0]))
    first = next(others, len(prompts))
    if first in (1, len(prompts)):
        return [slice(None)]
    return [slice(first), slice(first, None)]


def _is_alike(prompts: torch.Tensor) -> bool:
    return torch.equal(prompts, prompts[:1].expand_as(prompts))
