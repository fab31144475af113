"""Memory of a training step of full-size transformers, by calculation from their shapes.

    python tests/measurements/flow_memory.py

The classes are diffusers' with the published configs, on torch's meta device; nothing is computed.
Weights and working copies are bf16. A selected parameter takes 4 bytes (its master), 8 (Adam), 2
(its working copy) and 2 (its gradient) besides its frozen value. Activations are 34 bytes a token
and channel of each block (Korthikanti et al. 2022, table 2, with fused attention), of the pass that
a backward follows, with gradient checkpointing 2 of each block and all 34 of one. Decoding, CUDA's
context and the text encoders, which are dropped before training, are left out.

The second table has the frozen linear layers of the blocks in other forms, of which one at a time
is there in bf16.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import Flux2Transformer2DModel, FluxTransformer2DModel, SD3Transformer2DModel

from esdctl.models.families.family import Family
from esdctl.models.families.registry import family_named
from esdctl.models.frozen_layers import frozen_layers

A_SELECTED, A_FROZEN = 4 + 8 + 2 + 2, 2  # bytes a parameter
WHOLE, KEPT = 34, 2  # bytes a token and channel of a block
CARDS = (24, 48, 80)  # GB
SMALL_CARDS = (12, 16, *CARDS)
# Bytes a frozen weight on the device; 8 bits have a scale of fp32 for 256 of them, 4 bits for 64.
FORMS = {"bf16": 2.0, "int8": 1 + 4 / 256, "nf4": 0.5 + 4 / 64, "on the host": 0.0}
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
    sd3, flux, flux2 = map(family_named, ("sd3", "flux", "flux2"))
    assert sd3 is not None
    assert flux is not None
    assert flux2 is not None
    medium = {**SD3, "num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536,
              "pos_embed_max_size": 384, "dual_attention_layers": tuple(range(13)),
              "qk_norm": "rms_norm"}  # fmt: skip
    large = {**SD3, "num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432,
             "pos_embed_max_size": 192, "qk_norm": "rms_norm"}  # fmt: skip
    klein = {"guidance_embeds": False, "num_layers": 5, "num_single_layers": 20,
             "num_attention_heads": 24, "joint_attention_dim": 7680}  # fmt: skip
    klein_9b = {**klein, "num_layers": 8, "num_single_layers": 24, "num_attention_heads": 32,
                "joint_attention_dim": 12288}  # fmt: skip
    tokens, of_flux = 4096 + 77 + 256, 4096 + 512
    return [
        Model("SD 3.5 medium", sd3, SD3Transformer2DModel, medium, tokens, 1536, 24 + 13),
        Model("SD 3.5 large", sd3, SD3Transformer2DModel, large, tokens, 2432, 38),
        Model(
            "FLUX.1 dev",
            flux,
            FluxTransformer2DModel,
            {"guidance_embeds": True},
            of_flux,
            3072,
            19 + 38,
        ),
        Model("FLUX.2 klein 4B", flux2, Flux2Transformer2DModel, klein, of_flux, 3072, 5 + 20),
        Model("FLUX.2 klein 9B", flux2, Flux2Transformer2DModel, klein_9b, of_flux, 4096, 8 + 24),
    ]


@dataclass(frozen=True)
class Sizes:
    """How many values a group of a model has.

    Args:
        every: parameters of the model.
        chosen: those that the group moves.
        stored: of frozen linear layers in blocks, which can have another form.
        largest: of one of them.
    """

    every: int
    chosen: int
    stored: int
    largest: int


def main() -> None:
    """Print both tables."""
    print("| model | group | trained | parameters | GB | GB with checkpointing | fits in GB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for model in models():
        for group in ("text-kv", "joint-attn", "full"):
            sizes = _sizes(model, group)
            whole, less = _gigabytes(model, sizes, "bf16")
            print(
                f"| {model.title} | `{group}` | {sizes.chosen / 1e6:,.0f} M | "
                f"{sizes.every / 1e9:.2f} G | {whole:.1f} | {less:.1f} | {_fits(less, CARDS)} |"
            )
    print()
    print("| model | group | frozen weights | GB | GB with checkpointing | fits in GB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for model in models():
        for group in ("text-kv", "joint-attn"):
            sizes = _sizes(model, group)
            for form in FORMS:
                whole, less = _gigabytes(model, sizes, form)
                print(
                    f"| {model.title} | `{group}` | {form} | {whole:.1f} | {less:.1f} | "
                    f"{_fits(less, SMALL_CARDS)} |"
                )


def _sizes(model: Model, group: str) -> Sizes:
    with torch.device("meta"):
        network = model.kind(**model.config)
    sizes = {name: value.numel() for name, value in network.named_parameters()}
    chosen = [name for name in sizes if model.family.denoiser.groups[group](name)]
    stored = [layer.weight.numel() for _, layer in frozen_layers(network, chosen)]
    return Sizes(
        sum(sizes.values()),
        sum(sizes[name] for name in chosen),
        sum(stored),
        max(stored, default=0),
    )


def _gigabytes(model: Model, sizes: Sizes, form: str) -> tuple[float, float]:
    """Without and with gradient checkpointing."""
    fixed = A_FROZEN * sizes.every + A_SELECTED * sizes.chosen
    if form != "bf16":
        fixed += (FORMS[form] - A_FROZEN) * sizes.stored + A_FROZEN * sizes.largest
    channel = model.tokens * model.width
    whole = fixed + WHOLE * channel * model.blocks
    less = fixed + KEPT * channel * model.blocks + WHOLE * channel
    return whole / 1e9, less / 1e9


def _fits(gigabytes: float, cards: tuple[int, ...]) -> str:
    return ", ".join(str(card) for card in cards if gigabytes < 0.95 * card) or "none"


if __name__ == "__main__":
    main()
