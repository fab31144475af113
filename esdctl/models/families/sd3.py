"""Stable Diffusion 3 and 3.5 (Esser et al. 2024): a transformer trained by flow matching; 1024 px.

Two CLIP encoders are read before their last layers, side by side, and below them T5's rows, which
may be missing: then they are zeros, as many as CLIP's. The prompt as a whole comes from both CLIP.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isqrt
from typing import TYPE_CHECKING, Any

from esdctl.models.families.family import (
    Config,
    Denoiser,
    Family,
    ModelPart,
    OneFile,
    TextEncoder,
)
from esdctl.models.families.flow_models import FLOW_VAE, flow_process
from esdctl.models.families.latent_diffusion import TEXT_ONLY
from esdctl.models.families.tensor_names import (
    COMFY_CLIP_G,
    COMFY_CLIP_L,
    COMFY_T5,
    LDM_UNET,
    LDM_VAE,
)
from esdctl.models.families.transformer_groups import GROUPS

if TYPE_CHECKING:
    import torch

    from esdctl.diffusion.conditioning import Conditioning, Encoded
    from esdctl.diffusion.schedule import Schedule

SHIFT = 3.0  # of the sigmas, section 5.3.2
LATENTS_SIDE = 128
T5_TOKENS = 256  # as diffusers reads a prompt
CHANNELS_A_HEAD = 64  # of every published one
_MARK = "joint_blocks.0.x_block.attn.qkv.weight"
LATENTS = {"scaling_factor": 1.5305, "shift_factor": 0.0609}  # sd3_infer's SD3LatentFormat


def _is_config(transformer: Config) -> bool:
    return transformer.get("_class_name") == "SD3Transformer2DModel"


def _config_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """What the shapes of Stability's file say; SD 3.5 medium's second attention, too."""
    width, channels, patch, _ = shapes["x_embedder.proj.weight"]
    head = shapes.get("joint_blocks.0.x_block.attn.ln_q.weight", (CHANNELS_A_HEAD,))[0]
    if width % head:
        raise ValueError(f"{width} channels are no whole number of heads of {head}")
    blocks = {int(name.split(".")[1]) for name in shapes if name.startswith("joint_blocks.")}
    dual = (b for b in sorted(blocks) if f"joint_blocks.{b}.x_block.attn2.qkv.weight" in shapes)
    return {
        "_class_name": "SD3Transformer2DModel",
        "sample_size": LATENTS_SIDE,
        "patch_size": patch,
        "in_channels": channels,
        "out_channels": shapes["final_layer.linear.weight"][0] // patch**2,
        "num_layers": 1 + max(blocks),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shapes["context_embedder.weight"][1],
        "caption_projection_dim": shapes["context_embedder.weight"][0],
        "pooled_projection_dim": shapes["y_embedder.mlp.0.weight"][1],
        "pos_embed_max_size": isqrt(shapes["pos_embed"][1]),
        "dual_attention_layers": list(dual),
        "qk_norm": "rms_norm" if "joint_blocks.0.x_block.attn.ln_q.weight" in shapes else None,
    }


def _patch(transformer: Config) -> int:
    return int(transformer.get("patch_size", 2))


def _ask(
    latents: "torch.Tensor", timesteps: "torch.Tensor", conditioning: "Conditioning"
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    assert conditioning.pooled is not None
    return (), {
        "hidden_states": latents,
        "timestep": timesteps,
        "encoder_hidden_states": conditioning.embeddings,
        "pooled_projections": conditioning.pooled.to(latents.dtype),
        "return_dict": False,
    }


def _tell(made: "Sequence[Encoded]", transformer: Config) -> "Conditioning":
    import torch
    import torch.nn.functional as F

    from esdctl.diffusion.conditioning import Conditioning

    clip = torch.cat([each.hidden for each in made[:2]], dim=-1)  # (B, 77, D1 + D2)
    width = int(transformer.get("joint_attention_dim", 4096))
    clip = F.pad(clip, (0, width - clip.shape[-1]))
    t5 = made[2].hidden if len(made) > 2 else torch.zeros_like(clip)
    pooled = [each.pooled for each in made if each.pooled is not None]
    return Conditioning(torch.cat([clip, t5], dim=1), torch.cat(pooled, dim=-1))


def _schedule(config: Config, latents: tuple[int, int]) -> "Schedule":
    from esdctl.diffusion.flow import static_flow

    return static_flow(float(config["shift"]))


FAMILY = Family(
    name="sd3",
    title="Stable Diffusion 3.x",
    pipeline="StableDiffusion3Pipeline",
    same_pipelines=frozenset(
        f"StableDiffusion3{task}Pipeline" for task in ("Img2Img", "Inpaint", "PAG")
    ),
    parts={
        "transformer": ModelPart(
            "diffusers",
            "SD3Transformer2DModel",
            LDM_UNET,
            "mmdit",
            only={"quantization_config": (None,)},
            free=frozenset(
                {
                    "sample_size", "patch_size", "in_channels", "out_channels", "num_layers",
                    "attention_head_dim", "num_attention_heads", "joint_attention_dim",
                    "caption_projection_dim", "pooled_projection_dim", "pos_embed_max_size",
                    "dual_attention_layers", "qk_norm",
                }
            ),
        ),
        "vae": replace(FLOW_VAE, prefix=LDM_VAE),
        "text_encoder": ModelPart(
            "transformers", "CLIPTextModelWithProjection", f"{COMFY_CLIP_L}transformer.", "clip",
            TEXT_ONLY, identity=frozenset({"text_projection.weight"}),
        ),
        "text_encoder_2": ModelPart(
            "transformers", "CLIPTextModelWithProjection", f"{COMFY_CLIP_G}transformer.", "clip",
            TEXT_ONLY,
        ),
        "text_encoder_3": ModelPart(
            "transformers", "T5EncoderModel", f"{COMFY_T5}transformer.", "t5", is_optional=True
        ),
    },
    encoders=(
        TextEncoder(
            "text_encoder", "tokenizer", activation="quick_gelu", hidden_state="penultimate",
            is_pooled=True,
        ),
        TextEncoder(
            "text_encoder_2", "tokenizer_2", "!", activation="gelu", hidden_state="penultimate",
            is_pooled=True,
        ),
        TextEncoder("text_encoder_3", "tokenizer_3", kind="t5", longest=T5_TOKENS),
    ),
    denoiser=Denoiser(
        "transformer", _ask, _tell, _is_config, "transformer", groups=GROUPS, patch=_patch
    ),
    process=flow_process(
        {"shift": SHIFT},
        {"use_dynamic_shifting": (None, False)},
        side=LATENTS_SIDE,
        schedule=_schedule,
    ),
    guidance=7.0,
    checkpoint_mark=f"{LDM_UNET}{_MARK}",
    one_file=OneFile(_MARK, _config_of),
    vae=LATENTS,
    pipeline_options={"feature_extractor": [None, None], "image_encoder": [None, None]},
    lora_names="transformer",
    kohya_names="mmdit",
)  # fmt: skip
