"""The vision transformer (Dosovitskiy et al. 2021) under the parameter names of timm's files."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

HEAD = 64  # channels of an attention head, in every size that the paper and timm have
EPSILON = 1e-6  # of layer normalisation, timm's


@dataclass(frozen=True)
class Sizes:
    """What tells one vision transformer from another.

    Args:
        width: channels of a token, a multiple of 64.
        depth: blocks.
        hidden: channels between the two layers of a block's perceptron.
        patch: side of a patch in pixels.
        side: of a picture in pixels, a multiple of ``patch``.
        classes: how many names it tells apart.
    """

    width: int
    depth: int
    hidden: int
    patch: int
    side: int
    classes: int


class VisionTransformer(nn.Module):
    """Classifies pictures by their class token: patches, positions, blocks, norm, linear head."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.side = sizes.side
        width, patches = sizes.width, (sizes.side // sizes.patch) ** 2
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + patches, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, sizes.patch, sizes.patch)})
        self.blocks = nn.ModuleList(_Block(width, sizes.hidden) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.head = nn.Linear(width, sizes.classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, side, side) in -1..1 to logits (B, classes)."""
        logits: torch.Tensor = self.head(self.features(pictures))
        return logits

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, side, side) in -1..1 to normalised class tokens (B, width)."""
        patches = self.patch_embed["proj"](pictures).flatten(2).transpose(1, 2)  # (B, N, width)
        first = self.cls_token.expand(len(pictures), -1, -1)
        tokens = torch.cat([first, patches], dim=1) + self.pos_embed  # (B, 1 + N, width)
        for block in self.blocks:
            tokens = block(tokens)
        normalised: torch.Tensor = self.norm(tokens[:, 0])
        return normalised


class _Block(nn.Module):
    """Attention, then a perceptron, each on normalised tokens and added to them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = _Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        hidden = F.gelu(self.mlp["fc1"](self.norm2(tokens)))  # (B, 1 + N, hidden)
        added: torch.Tensor = self.mlp["fc2"](hidden)  # (B, 1 + N, width)
        return tokens + added


class _Attention(nn.Module):
    """Self-attention in heads of 64 channels; one layer makes queries, keys and values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mixed = self.qkv(tokens).unflatten(2, (3, -1, HEAD))  # (B, 1 + N, 3, heads, 64)
        q, k, v = mixed.permute(2, 0, 3, 1, 4)  # (B, heads, 1 + N, 64) each
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        projected: torch.Tensor = self.proj(seen)  # (B, 1 + N, width)
        return projected
