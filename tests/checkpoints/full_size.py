"""The architectures of the published models in full size, to be built without memory."""

from collections.abc import Mapping
from typing import Any, Literal

from esdctl.checkpoints.layouts.architecture import Architecture
from esdctl.models.families.registry import family_named

Family = Literal["sd1", "sd2", "sdxl"]
FAMILIES: tuple[Family, ...] = ("sd1", "sd2", "sdxl")

_SD: Mapping[str, Any] = {
    "sample_size": 64,
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280, 1280),
}
UNETS: Mapping[Family, Mapping[str, Any]] = {
    "sd1": {**_SD, "cross_attention_dim": 768},
    "sd2": {
        **_SD,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    "sdxl": {
        "sample_size": 128,
        "layers_per_block": 2,
        "cross_attention_dim": 2048,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
}
_VAE: Mapping[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}


def full_size(family: Family) -> Architecture:
    """The architecture of SD 1.x, 2.x or XL as it was published."""
    clip_l = _clip(768, 12, "quick_gelu")
    return Architecture(
        family=family_named(family),
        prediction_type="epsilon",
        configs={
            "unet": UNETS[family],
            "vae": _VAE,
            "text_encoder": _clip(1024, 23, "gelu") if family == "sd2" else clip_l,
            **({"text_encoder_2": _clip(1280, 32, "gelu")} if family == "sdxl" else {}),
        },
        scheduler={"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"},
    )


def _clip(width: int, layers: int, activation: str) -> dict[str, Any]:
    return {
        "vocab_size": 49_408,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "projection_dim": width,
        "hidden_act": activation,
    }
