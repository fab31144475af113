"""What Stable Diffusion 1.x, 2.x and XL share: the noise schedule, the U-Net and VAE classes."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from esdctl.models.families.family import Config, Denoiser, ModelPart, Prediction, Process
from esdctl.models.families.tensor_names import LDM_UNET, LDM_VAE
from esdctl.settings.prediction import PREDICTION_TYPES, PredictionType

if TYPE_CHECKING:
    import torch

    from esdctl.diffusion.conditioning import Conditioning, Encoded
    from esdctl.diffusion.schedule import Schedule

UNET = ModelPart(
    "diffusers",
    "UNet2DConditionModel",
    LDM_UNET,
    "unet",
    only={
        "out_channels": (4,),
        "center_input_sample": (False,),
        "flip_sin_to_cos": (True,),
        "freq_shift": (0,),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "mid_block_type": ("UNetMidBlock2DCrossAttn",),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "only_cross_attention": (False,),
        "mid_block_only_cross_attention": (None, False),
        "downsample_padding": (1,),
        "mid_block_scale_factor": (1,),
        "act_fn": ("silu", "swish"),
        "norm_eps": (1e-5,),
        "encoder_hid_dim": (None,),
        "encoder_hid_dim_type": (None,),
        "num_attention_heads": (None,),
        "dual_cross_attention": (False,),
        "class_embed_type": (None,),
        "num_class_embeds": (None,),
        "addition_embed_type": (None, "text_time"),
        "resnet_time_scale_shift": ("default",),
        "resnet_skip_time_act": (False,),
        "resnet_out_scale_factor": (1,),
        "time_embedding_type": ("positional",),
        "time_embedding_dim": (None,),
        "time_embedding_act_fn": (None,),
        "timestep_post_act": (None,),
        "time_cond_proj_dim": (None,),  # guidance as an input: latent consistency models
        "conv_in_kernel": (3,),
        "conv_out_kernel": (3,),
        "attention_type": ("default",),  # GLIGEN's is "gated"
        "class_embeddings_concat": (False,),
        "cross_attention_norm": (None,),
        "quantization_config": (None,),
    },
    free=frozenset(
        {
            "sample_size", "in_channels", "block_out_channels", "layers_per_block", "dropout",
            "norm_num_groups", "cross_attention_dim", "transformer_layers_per_block",
            "reverse_transformer_layers_per_block", "attention_head_dim", "use_linear_projection",
            "addition_time_embed_dim", "projection_class_embeddings_input_dim", "upcast_attention",
            "addition_embed_type_num_heads",
        }
    ),
)  # fmt: skip
VAE = ModelPart(
    "diffusers",
    "AutoencoderKL",
    LDM_VAE,
    "vae",
    only={
        "in_channels": (3,),
        "out_channels": (3,),
        "latent_channels": (4,),
        "down_block_types": ("DownEncoderBlock2D",),
        "up_block_types": ("UpDecoderBlock2D",),
        "act_fn": ("silu", "swish"),
        "shift_factor": (None, 0),
        "latents_mean": (None,),
        "latents_std": (None,),
        "use_quant_conv": (True,),
        "use_post_quant_conv": (True,),
        "mid_block_add_attention": (True,),
        "quantization_config": (None,),
    },
    free=frozenset(
        {
            "block_out_channels", "layers_per_block", "norm_num_groups", "sample_size",
            "scaling_factor", "force_upcast",
        }
    ),
)  # fmt: skip
# Of every CLIP text encoder's config.json.
TEXT_ONLY: Mapping[str, tuple[object, ...]] = {
    "model_type": ("clip_text_model",),
    "use_attention_mask": (None, False),
    "quantization_config": (None,),
    "text_config": (None,),  # a whole CLIP's
}

# v1-inference.yaml, v2-inference.yaml, sd_xl_base.yaml; "linear" there is diffusers' scaled_linear.
NOISE: Config = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
_NEEDED: Config = {key: NOISE[key] for key in ("beta_schedule", "beta_start", "beta_end")}
LATENTS_SCALE = 0.18215  # v1-inference.yaml, v2-inference.yaml

# model_index.json of SD 1.x and 2.x: no safety checker goes with a model that we write.
NO_SAFETY_CHECKER: Config = {
    "feature_extractor": [None, None],
    "safety_checker": [None, None],
    "requires_safety_checker": False,
}

# diffusers' samplers of a variance-preserving process in discrete steps.
SAMPLERS = frozenset(
    {
        "DDIMScheduler", "DDIMParallelScheduler", "DDIMInverseScheduler", "DDPMScheduler",
        "DDPMParallelScheduler", "DEISMultistepScheduler", "DPMSolverMultistepScheduler",
        "DPMSolverMultistepInverseScheduler", "DPMSolverSDEScheduler",
        "DPMSolverSinglestepScheduler", "EulerAncestralDiscreteScheduler",
        "EulerDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2AncestralDiscreteScheduler",
        "KDPM2DiscreteScheduler", "LCMScheduler", "LMSDiscreteScheduler", "PNDMScheduler",
        "SASolverScheduler", "TCDScheduler", "UniPCMultistepScheduler",
    }
)  # fmt: skip
SCHEDULER_ONLY: Mapping[str, tuple[object, ...]] = {
    "beta_schedule": ("scaled_linear",),
    "num_train_timesteps": (1000,),
    "trained_betas": (None,),
    "rescale_betas_zero_snr": (None, False),  # zero terminal SNR (Lin et al. 2023)
    "prediction_type": PREDICTION_TYPES,
    "timestep_spacing": ("leading", "trailing", "linspace"),
    "timestep_type": (None, "discrete"),  # "continuous" is EDM's
    "sigma_data": (None,),
    "sigma_min": (None,),
    "sigma_max": (None,),
    "sigma_schedule": (None,),
    "use_flow_sigmas": (None, False),
    "use_dynamic_shifting": (None, False),
    "shift": (None,),
    "snr_shift_scale": (None,),
}
SCHEDULER_UNUSED: Mapping[str, tuple[object, ...]] = {
    "timestep_spacing": ("leading", "trailing"),
    "clip_sample": (False,),
    "thresholding": (False,),
    "set_alpha_to_one": (False,),
}


def unet_denoiser(is_config: Callable[[Config], bool]) -> Denoiser:
    """diffusers' U-Net, told the hidden states of all text encoders side by side.

    Args:
        is_config: whether a U-Net's config.json is of the family.
    """
    return Denoiser("unet", ask_unet, _side_by_side, is_config)


def ask_unet(
    latents: "torch.Tensor", timesteps: "torch.Tensor", conditioning: "Conditioning"
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """How a U-Net of diffusers is asked for its prediction: positional and named arguments.

    Args:
        latents: x_t, (B, 4, h, w).
        timesteps: (B,), 0..999.
        conditioning: of B rows.
    """
    named: dict[str, Any] = {"return_dict": False}
    if conditioning.pooled is not None:
        named["added_cond_kwargs"] = {
            "text_embeds": conditioning.pooled,
            "time_ids": conditioning.time_ids,
        }
    return (latents, timesteps, conditioning.embeddings), named


def _side_by_side(made: "Sequence[Encoded]", unet: Config) -> "Conditioning":
    import torch

    from esdctl.diffusion.conditioning import Conditioning

    pooled = next((each.pooled for each in made if each.pooled is not None), None)
    sizes = None if pooled is None else pooled.new_zeros(len(pooled), 6)
    return Conditioning(torch.cat([each.hidden for each in made], dim=-1), pooled, sizes)


def _schedule(config: Config, latents: tuple[int, int]) -> "Schedule":
    """Only the noise's amounts are read; every other process was refused."""
    from esdctl.diffusion.ddim import scaled_linear

    return scaled_linear(
        config["beta_start"],
        config["beta_end"],
        config["prediction_type"],
        "trailing" if config.get("timestep_spacing") == "trailing" else "leading",
    )


def discrete_process(
    scheduler: Config,
    prediction: Prediction,
    latents_side: Mapping[PredictionType, int],
    has_tables: bool,
    has_prediction_mark: bool,
) -> Process:
    """A variance-preserving process of 1,000 steps; the rest as ``Process`` has it."""
    return Process(
        {**scheduler, **NOISE}, SAMPLERS, SCHEDULER_ONLY, SCHEDULER_UNUSED, prediction,
        latents_side, _schedule, _NEEDED, None, has_tables, has_prediction_mark,
    )  # fmt: skip


def same_pipelines(pipeline: str) -> frozenset[str]:
    """diffusers' classes that use the model of a text-to-image pipeline for other tasks.

    Args:
        pipeline: ``StableDiffusionPipeline`` or ``StableDiffusionXLPipeline``.
    """
    tasks = ("Img2Img", "Inpaint", "KDiffusion", "PAG", "PAGImg2Img", "PAGInpaint")
    stem = pipeline.removesuffix("Pipeline")
    return frozenset(f"{stem}{task}Pipeline" for task in tasks)
