"""Stable Diffusion 2.x: OpenCLIP's text encoder without its last layer; 512 or 768 px."""

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

_TEXT = f"{LDM_TEXT}model."

# Optimiser steps after which Stability's two models of 512 px were saved (2.0-base, 2.1-base).
_EPSILON_STEPS = ("875000", "220000")


def _is_unet_config(unet: Config) -> bool:
    return bool(unet.get("use_linear_projection")) and unet.get("addition_embed_type") is None


def _prediction(metadata: Mapping[str, str]) -> tuple[PredictionType, tuple[str, ...]]:
    """The noise at 512 px, v at 768 px; only the number of steps tells them apart."""
    if metadata.get("global_step") in _EPSILON_STEPS:
        return "epsilon", ()
    note = (
        "nothing says what this SD 2.x model predicts; v_prediction is assumed, as in the models "
        "of 768 px (--prediction-type epsilon says otherwise)"
    )
    return "v_prediction", (note,)


FAMILY = Family(
    name="sd2",
    title="Stable Diffusion 2.x",
    pipeline="StableDiffusionPipeline",
    same_pipelines=same_pipelines("StableDiffusionPipeline"),
    parts={
        "unet": UNET,
        "vae": VAE,
        "text_encoder": ModelPart("transformers", "CLIPTextModel", _TEXT, "open_clip", TEXT_ONLY),
    },
    encoders=(
        # The last layer but one is used; pipeline folders leave the last one out.
        TextEncoder(
            "text_encoder",
            "tokenizer",
            "!",  # token 0
            activation="gelu",
            hidden_state="last",
            full_layers={1024: 24},  # ViT-H/14
        ),
    ),
    denoiser=unet_denoiser(_is_unet_config),
    process=discrete_process(
        scheduler={
            "_class_name": "DDIMScheduler",
            "clip_sample": False,
            "set_alpha_to_one": False,
        },
        prediction=_prediction,
        latents_side={"epsilon": 64, "v_prediction": 96},
        has_tables=True,
        has_prediction_mark=False,
    ),
    checkpoint_mark=_TEXT,
    heads=None,
    vae={"scaling_factor": LATENTS_SCALE},
    pipeline_options=NO_SAFETY_CHECKER,
    lora_names="diffusers",
    modelspec={
        "stable-diffusion-v2": None,
        "stable-diffusion-v2-512": "epsilon",
        "stable-diffusion-v2-768-v": "v_prediction",
    },
    modelspec_layer="2",
    ldm_text={
        "cond_stage_config": {
            "target": "ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder",
            "params": {"layer": "penultimate", "freeze": True},
        }
    },
)
