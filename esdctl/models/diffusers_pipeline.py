"""diffusers' own pipeline on the parts of a loaded model, the delta in place."""

from typing import Any

from diffusers import DDIMScheduler

from esdctl.models.stable_diffusion import StableDiffusion


def as_diffusers_pipeline(model: StableDiffusion) -> Any:
    """``StableDiffusionPipeline`` or SDXL's, with DDIM as ``esdctl sample`` has it.

    Args:
        model: whose modules the pipeline takes as they are, without copies.
    """
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    scheduler = DDIMScheduler(
        beta_start=model.architecture.noise["beta_start"],
        beta_end=model.architecture.noise["beta_end"],
        beta_schedule=model.architecture.noise["beta_schedule"],
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type=model.schedule.prediction_type,
        timestep_spacing=model.schedule.spacing,
    )
    parts: dict[str, Any] = {
        "vae": model.vae,
        "text_encoder": model.text_encoder,
        "tokenizer": model.tokenizers[0],
        "unet": model.unet,
        "scheduler": scheduler,
    }
    if model.text_encoder_2 is None:
        return StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    second = {"text_encoder_2": model.text_encoder_2, "tokenizer_2": model.tokenizers[1]}
    return StableDiffusionXLPipeline(
        **parts, **second, force_zeros_for_empty_prompt=model.empty_is_zero
    )
