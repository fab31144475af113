"""Memory of a training step of full-size transformers, by calculation from their shapes.

    python tests/measurements/flow_memory.py

The classes are diffusers' with the published configs, on torch's meta device; nothing is computed.
Weights and working copies are bf16. A selected parameter takes 4 bytes (its master), 8 (Adam), 2
(its working copy) and 2 (its gradient) besides its frozen value. Activations are 34 bytes a token
and channel of each block (Korthikanti et al. 2022, table 2, with fused attention), of the pass that
a backward follows, with gradient checkpointing 2 of each block and all 34 of one. Decoding, CUDA's
context and the text encoders, which are dropped before training, are left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel

from esdctl.models.families.family import Family
from esdctl.models.families.registry import family_named

A_SELECTED, A_FROZEN = 4 + 8 + 2 + 2, 2  # bytes a parameter
WHOLE, KEPT = 34, 2  # bytes a token and channel of a block
CARDS = (24, 48, 80)  # GB
SD3 = {
    "sample_size": 128, "in_channels": 16, "out_channels": 16, "patch_size": 2,
    "attention_head_dim": 64, "joint_attention_dim": 4096, "pooled_projection_dim": 2048,
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A published model: its class and config, and the tokens of a picture and its text."""

    title: str
    family: Family
    kind: Any
    config: Mapping[str, Any]
    tokens: int
    width: int
    blocks: int


def models() -> list[Model]:
    """Those that are measured."""
    sd3, flux = family_named("sd3"), family_named("flux")
    assert sd3 is not None
    assert flux is not None
    medium = {**SD3, "num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536,
              "pos_embed_max_size": 384, "dual_attention_layers": tuple(range(13)),
              "qk_norm": "rms_norm"}  # fmt: skip
    large = {**SD3, "num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432,
             "pos_embed_max_size": 192, "qk_norm": "rms_norm"}  # fmt: skip
    tokens = 4096 + 77 + 256
    return [
        Model("SD 3.5 medium", sd3, SD3Transformer2DModel, medium, tokens, 1536, 24 + 13),
        Model("SD 3.5 large", sd3, SD3Transformer2DModel, large, tokens, 2432, 38),
        Model(
            "FLUX.1 dev",
            flux,
            FluxTransformer2DModel,
            {"guidance_embeds": True},
            4096 + 512,
            3072,
            19 + 38,
        ),
    ]


def main() -> None:
    """Print the table."""
    print("| model | group | trained | parameters | GB | GB with checkpointing | fits in GB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for model in models():
        with torch.device("meta"):
            network = model.kind(**model.config)
        sizes = {name: value.numel() for name, value in network.named_parameters()}
        every = sum(sizes.values())
        for group in ("text-kv", "joint-attn", "full"):
            rule = model.family.denoiser.groups[group]
            chosen = sum(size for name, size in sizes.items() if rule(name))
            fixed = A_FROZEN * every + A_SELECTED * chosen
            channel = model.tokens * model.width
            whole = fixed + WHOLE * channel * model.blocks
            less = fixed + KEPT * channel * model.blocks + WHOLE * channel
            cards = [str(card) for card in CARDS if less / 1e9 < 0.95 * card]
            print(
                f"| {model.title} | `{group}` | {chosen / 1e6:,.0f} M | {every / 1e9:.2f} G | "
                f"{whole / 1e9:.1f} | {less / 1e9:.1f} | {', '.join(cards) or 'none'} |"
            )


if __name__ == "__main__":
    main()
