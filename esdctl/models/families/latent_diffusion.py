"""What Stable Diffusion 1.x, 2.x and XL share: the noise schedule, the U-Net and VAE classes."""

from esdctl.models.families.family import Config, ModelPart
from esdctl.models.families.tensor_names import LDM_UNET, LDM_VAE

UNET = ModelPart("diffusers", "UNet2DConditionModel", LDM_UNET, "unet")
VAE = ModelPart("diffusers", "AutoencoderKL", LDM_VAE, "vae")

# v1-inference.yaml, v2-inference.yaml, sd_xl_base.yaml; "linear" there is diffusers' scaled_linear.
NOISE: Config = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
LATENTS_SCALE = 0.18215  # v1-inference.yaml, v2-inference.yaml

# model_index.json of SD 1.x and 2.x: no safety checker goes with a model that we write.
NO_SAFETY_CHECKER: Config = {
    "feature_extractor": [None, None],
    "safety_checker": [None, None],
    "requires_safety_checker": False,
}
