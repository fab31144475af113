"""diffusers' own pipeline on the parts of a loaded model: what we are compared with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from esdctl.models.diffusers_pipeline import as_diffusers_pipeline
from esdctl.models.quiet_libraries import quiet_libraries
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.sampling.noise import initial_noise
from esdctl.sampling.plan import Picture


def diffusers_pipeline(model: StableDiffusion) -> Any:
    """``StableDiffusionPipeline`` or SDXL's, silent, on the model's own tensors."""
    quiet_libraries()
    pipe = as_diffusers_pipeline(model)
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
            latents=noise.to(pipe.unet.device, pipe.unet.dtype),
            output_type="np",
        ).images  # (B, H, W, 3) in 0..1
    return np.asarray((made * 255).round(), dtype=np.uint8)
