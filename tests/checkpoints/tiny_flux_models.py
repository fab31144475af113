"""Tiny FLUX models of the real structures, as ``save_pretrained`` writes them."""

from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

from tests.checkpoints.tiny_flow_models import (
    clip_tokenizer,
    t5_tokenizer,
    tiny_clip,
    tiny_t5,
    tiny_vae,
)


def tiny_flux(
    folder: Path, is_schnell: bool = False, seed: int = 0, heads: int = 2, is_wide: bool = False
) -> Path:
    """A FLUX.1 with random weights, as a pipeline folder.

    Args:
        folder: where.
        is_schnell: whether it takes no guidance, and has one shift for all sizes.
        seed: of the weights.
        heads: of the attention, each of 16 channels.
        is_wide: whether it has one head of the 128 channels of the published ones.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        scheduler = {"shift": 1.0} if is_schnell else {"shift": 3.0, "use_dynamic_shifting": True}
        pipeline = FluxPipeline(
            transformer=FluxTransformer2DModel(
                in_channels=64,
                num_layers=2,
                num_single_layers=2,
                attention_head_dim=128 if is_wide else 16,
                num_attention_heads=1 if is_wide else heads,
                joint_attention_dim=64,
                pooled_projection_dim=32,
                guidance_embeds=not is_schnell,
                axes_dims_rope=(16, 56, 56) if is_wide else (4, 6, 6),
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(**scheduler),
            vae=tiny_vae(),
            text_encoder=tiny_clip("quick_gelu", is_projected=False),
            tokenizer=clip_tokenizer("<|endoftext|>"),
            text_encoder_2=tiny_t5(64),
            tokenizer_2=t5_tokenizer(),
        )
    pipeline.save_pretrained(folder)
    return folder
