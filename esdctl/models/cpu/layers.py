"""Stable Diffusion's layers for prediction alone: fewer passes over memory, and oneDNN throughout.

- Linear layers go to oneDNN.
- GEGLU (Shazeer 2020) computes its halves one by one, the gate's GELU in the same pass as its
  product. Sums with a residual are part of a product, or are made in place.
- Cross-attention computes what depends on the prompts alone once a trajectory, not once a step.
- Up to the first cross-attention, guidance's two passes are one.

None of them knows a gradient. tests/measurements/README.md says what each gains.
"""

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn
from torch.nn import functional as F

from esdctl.models.cpu.attention import Attention, CrossAttention
from esdctl.models.cpu.onednn import Linear, product, sum_with


class ResidualBlock(nn.Module):
    """Two normalised convolutions and the time between them, beside what they started from."""

    def __init__(self, block: ResnetBlock2D) -> None:
        super().__init__()
        self.norm1, self.conv1 = block.norm1, block.conv1
        self.norm2, self.conv2 = block.norm2, block.conv2
        self.shortcut = block.conv_shortcut
        self.time = Linear(block.time_emb_proj)

    def forward(self, x: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        time = self.time(F.silu(temb))[:, :, None, None]  # (B, C, 1, 1)
        h = self.conv1(F.silu(self.norm1(x), inplace=True)).add_(time)  # (B, C, h, w)
        h = self.conv2(F.silu(self.norm2(h), inplace=True))
        result: torch.Tensor = h.add_(x if self.shortcut is None else self.shortcut(x))
        return result


class Transformer(nn.Module):
    """Blocks of attention over the places of a picture, beside what they started from."""

    def __init__(self, model: Transformer2DModel) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(block) for block in model.transformer_blocks)
        first = model.transformer_blocks[0]
        self.enter = nn.Sequential(_Entrance(model), _SelfAttention(first))
        self.again = nn.ModuleList(map(_SelfAttention, model.transformer_blocks[1:]))
        self.proj_out = model.proj_out

    def forward(
        self, x: torch.Tensor, encoder_hidden_states: torch.Tensor, **unused: object
    ) -> tuple[torch.Tensor]:
        """(B, C, h, w), prompts (B, 77, D) -> (B, C, h, w); masks are not known."""
        tokens = self.blocks[0](self.enter(x), encoder_hidden_states)  # (B, h w, C)
        for itself, block in zip(self.again, self.blocks[1:], strict=True):
            tokens = block(itself(tokens), encoder_hidden_states)
        projected = product(tokens, self.proj_out.weight.flatten(1), self.proj_out.bias)
        return (x + projected.transpose(1, 2).unflatten(2, x.shape[2:]),)


class Halved(nn.Module):
    """A layer that computes one half of its rows where the other half is the same.

    Guidance asks twice about the same latents, and up to the first prompt the answers agree.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        rows = len(inputs[0]) // 2
        if all(torch.equal(each[:rows], each[rows:]) for each in inputs):
            half: torch.Tensor = self.layer(*(each[:rows] for each in inputs))
            return torch.cat([half, half])
        whole: torch.Tensor = self.layer(*inputs)
        return whole


class _Entrance(nn.Module):
    """From a picture to its places: (B, C, h, w) -> (B, h w, C)."""

    def __init__(self, model: Transformer2DModel) -> None:
        super().__init__()
        self.norm, self.proj_in = model.norm, model.proj_in

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        return product(tokens, self.proj_in.weight.flatten(1), self.proj_in.bias)


class _SelfAttention(nn.Module):
    def __init__(self, block: BasicTransformerBlock) -> None:
        super().__init__()
        self.norm, self.attention = block.norm1, Attention(block.attn1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        mixed: torch.Tensor = self.attention(y, self.attention.context(y), x)
        return mixed


class _Block(nn.Module):
    """Cross-attention and GEGLU, each beside what it started from."""

    def __init__(self, block: BasicTransformerBlock) -> None:
        super().__init__()
        self.norm2, self.attention = block.norm2, CrossAttention(block.attn2)
        self.norm3, self.geglu, self.out = block.norm3, block.ff.net[0].proj, block.ff.net[2]

    def forward(self, x: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        """(B, N, C), (B, 77, D) -> (B, N, C)."""
        x = self.attention(self.norm2(x), prompts, x)
        y = self.norm3(x)
        (v, w), (c, b) = self.geglu.weight.chunk(2), self.geglu.bias.chunk(2)
        gated = product(y, v, c).mul_(product(y, w, b, "gelu"))  # (B, N, 4 C)
        return sum_with(x, gated, self.out.weight, self.out.bias)
