"""Stable Diffusion 1.x (Rombach et al. 2022): one CLIP text encoder, pictures of 512 px."""

from collections.abc import Mapping

from esdctl.models.families.family import Config, Family, ModelPart, TextEncoder
from esdctl.models.families.latent_diffusion import (
    LATENTS_SCALE,
    NO_SAFETY_CHECKER,
    TEXT_ONLY,
    UNET,
    VAE,
    discrete_process,
    same_pipelines,
    unet_denoiser,
)
from esdctl.models.families.tensor_names import LDM_TEXT
from esdctl.settings.prediction import PredictionType

_TEXT = f"{LDM_TEXT}transformer."


def _is_unet_config(unet: Config) -> bool:
    return not unet.get("use_linear_projection") and unet.get("addition_embed_type") is None


def _prediction(metadata: Mapping[str, str]) -> tuple[PredictionType, tuple[str, ...]]:
    """Every published one predicts the noise."""
    return "epsilon", ()


FAMILY = Family(
    name="sd1",
    title="Stable Diffusion 1.x",
    pipeline="StableDiffusionPipeline",
    same_pipelines=same_pipelines("StableDiffusionPipeline"),
    parts={
        "unet": UNET,
        "vae": VAE,
        "text_encoder": ModelPart("transformers", "CLIPTextModel", _TEXT, "clip", TEXT_ONLY),
    },
    encoders=(
        TextEncoder(
            "text_encoder", "tokenizer", None, activation="quick_gelu", hidden_state="last"
        ),
    ),
    denoiser=unet_denoiser(_is_unet_config),
    process=discrete_process(
        scheduler={
            "_class_name": "PNDMScheduler",
            "clip_sample": False,
            "set_alpha_to_one": False,
            "skip_prk_steps": True,
        },
        prediction=_prediction,
        latents_side={"epsilon": 64, "v_prediction": 64},
        has_tables=True,
        has_prediction_mark=False,
    ),
    checkpoint_mark=_TEXT,
    heads=8,
    vae={"scaling_factor": LATENTS_SCALE},
    pipeline_options=NO_SAFETY_CHECKER,
    lora_names="diffusers",
    modelspec={"stable-diffusion-v1": None},
    modelspec_layer="1",
    ldm_text={"cond_stage_config": {"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder"}},
)
