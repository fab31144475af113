"""Stable Diffusion XL (Podell et al. 2023): two text encoders, told the picture's size; 1024 px."""

from collections.abc import Mapping

from esdctl.models.families.family import Config, Family, ModelPart, TextEncoder
from esdctl.models.families.latent_diffusion import (
    TEXT_ONLY,
    UNET,
    VAE,
    discrete_process,
    same_pipelines,
    unet_denoiser,
)
from esdctl.models.families.tensor_names import LDM_BLOCKS, SGM_TEXT_1, SGM_TEXT_2
from esdctl.settings.prediction import PredictionType

_TEXT = f"{SGM_TEXT_1}transformer."
_TEXT_2 = f"{SGM_TEXT_2}model."


def _is_unet_config(unet: Config) -> bool:
    return unet.get("addition_embed_type") == "text_time"


def _prediction(metadata: Mapping[str, str]) -> tuple[PredictionType, tuple[str, ...]]:
    """The noise; others carry a mark."""
    return "epsilon", ()


def _is_inside_blocks(name: str) -> bool:
    """Neither an embedding of time, prompt or size, wherever it enters, nor the first or last
    layer: what the authors' script for SDXL lets move."""
    is_inside = name.startswith(LDM_BLOCKS) and not name.startswith("input_blocks.0.")
    return is_inside and "emb" not in name


FAMILY = Family(
    name="sdxl",
    title="Stable Diffusion XL",
    pipeline="StableDiffusionXLPipeline",
    same_pipelines=same_pipelines("StableDiffusionXLPipeline"),
    parts={
        "unet": UNET,
        "vae": VAE,
        "text_encoder": ModelPart("transformers", "CLIPTextModel", _TEXT, "clip", TEXT_ONLY),
        "text_encoder_2": ModelPart(
            "transformers", "CLIPTextModelWithProjection", _TEXT_2, "open_clip", TEXT_ONLY
        ),
    },
    encoders=(
        TextEncoder(
            "text_encoder", "tokenizer", None, activation="quick_gelu", hidden_state="penultimate"
        ),
        TextEncoder(
            "text_encoder_2",
            "tokenizer_2",
            "!",  # token 0
            activation="gelu",
            hidden_state="penultimate",
            is_pooled=True,
        ),
    ),
    denoiser=unet_denoiser(_is_unet_config),
    process=discrete_process(
        scheduler={"_class_name": "EulerDiscreteScheduler"},
        prediction=_prediction,
        latents_side={"epsilon": 128, "v_prediction": 128},
        has_tables=False,
        has_prediction_mark=True,
    ),
    checkpoint_mark=_TEXT_2,
    heads=None,
    vae={"scaling_factor": 0.13025, "force_upcast": True},  # sd_xl_base.yaml
    has_size_conditions=True,
    pipeline_options={"force_zeros_for_empty_prompt": True},
    lora_names="compvis",  # kohya's tools train LDM's U-Net there
    modelspec={"stable-diffusion-xl-v1-base": None},
    modelspec_layer="2",
    ldm_text=None,
    narrower_groups={"esd-u": _is_inside_blocks, "esd-all": _is_inside_blocks},
)
