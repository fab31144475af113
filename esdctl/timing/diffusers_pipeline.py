"""diffusers' own pipeline on the parts of a loaded model: what we are compared with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import DDIMScheduler

from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.sampling.noise import initial_noise
from esdctl.sampling.plan import Picture
from esdctl.timing.quiet_libraries import quiet_libraries


def diffusers_pipeline(model: StableDiffusion) -> Any:
    """``StableDiffusionPipeline`` or SDXL's, with DDIM, on the model's own tensors."""
    quiet_libraries()
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
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
        pipe = StableDiffusionPipeline(
            **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
        )
    else:
        second = {"text_encoder_2": model.text_encoder_2, "tokenizer_2": model.tokenizers[1]}
        pipe = StableDiffusionXLPipeline(
            **parts, **second, force_zeros_for_empty_prompt=model.empty_is_zero
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sample_with(pipe: Any, pictures: Sequence[Picture], steps: int) -> npt.NDArray[np.uint8]:
    """The pictures as one batch, from the noise that we would give them, (B, H, W, 3)."""
    first = pictures[0]
    factor = pipe.vae_scale_factor
    shape = (pipe.unet.config.in_channels, first.height // factor, first.width // factor)
    noise = initial_noise([picture.seed for picture in pictures], shape)
    with torch.no_grad():
        made = pipe(
            [picture.prompt for picture in pictures],
            height=first.height,
            width=first.width,
            num_inference_steps=steps,
            guidance_scale=first.guidance,
            latents=noise.to(pipe.unet.device),
            output_type="np",
        ).images  # (B, H, W, 3) in 0..1
    return np.asarray((made * 255).round(), dtype=np.uint8)
