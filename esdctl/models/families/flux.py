"""FLUX.1 (Black Forest Labs 2024): a transformer of double and single blocks; 1024 px.

Tokens are 2 x 2 places of the latents, told apart by where they are. T5 reads the prompt; CLIP says
what the prompt is as a whole. FLUX.1 dev was distilled to take the scale of guidance as an input,
FLUX.1 schnell to do without: neither has a second pass under the empty prompt.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from esdctl.models.families.family import (
    Config,
    Denoiser,
    Family,
    ModelPart,
    OneFile,
    TextEncoder,
)
from esdctl.models.families.flow_models import FLOW_VAE, black_forest_config, flow_process
from esdctl.models.families.latent_diffusion import TEXT_ONLY
from esdctl.models.families.tensor_names import COMFY_CLIP_L, COMFY_T5, COMFY_VAE, LDM_UNET
from esdctl.models.families.transformer_groups import GROUPS_WITH_SINGLE_BLOCKS

if TYPE_CHECKING:
    import torch

    from esdctl.diffusion.conditioning import Conditioning, Encoded
    from esdctl.diffusion.schedule import Schedule

PATCH = 2  # places a side of a token
T5_TOKENS = 512  # as diffusers reads a prompt
GUIDANCE = 3.5  # the scale of the published pictures, and what the network is told in training
AXES = (16, 56, 56)  # channels of a head that turn with a token's number, row and column
_MARK = "vector_in.in_layer.weight"
_TASKS = {
    128: "for control (Canny, Depth), where a picture is given with the prompt",
    384: "FLUX.1 Fill, which paints into a picture",
}
LATENTS = {"scaling_factor": 0.3611, "shift_factor": 0.1159}  # flux's ae_params


def _is_config(transformer: Config) -> bool:
    return transformer.get("_class_name") == "FluxTransformer2DModel"


def _config_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """What the shapes of Black Forest Labs' file say."""
    return {
        "_class_name": "FluxTransformer2DModel",
        **black_forest_config(shapes, AXES, "FLUX.1"),
        "pooled_projection_dim": shapes["vector_in.in_layer.weight"][1],
    }


def _scheduler_of(transformer: Config) -> Config:
    """Schnell, which takes no guidance, has no shift."""
    is_dev = _takes_guidance(transformer)
    return {} if is_dev else {"shift": 1.0, "use_dynamic_shifting": False}


def _takes_guidance(transformer: Config) -> bool:
    return bool(transformer.get("guidance_embeds", False))


def _ask(
    latents: "torch.Tensor", timesteps: "torch.Tensor", conditioning: "Conditioning"
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    assert conditioning.pooled is not None
    tokens = conditioning.embeddings.shape[1]
    return (), {
        "hidden_states": _packed(latents),
        "timestep": timesteps / 1000,
        "guidance": conditioning.guidance,
        "encoder_hidden_states": conditioning.embeddings,
        "pooled_projections": conditioning.pooled.to(latents.dtype),
        "txt_ids": timesteps.new_zeros(tokens, 3),
        "img_ids": _places(latents),
        "return_dict": False,
    }


def _packed(latents: "torch.Tensor") -> "torch.Tensor":
    """(B, C, h, w) -> a row a token, (B, h/2 w/2, 4C)."""
    count, channels, height, width = latents.shape
    apart = latents.reshape(count, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return apart.permute(0, 2, 4, 1, 3, 5).reshape(count, -1, channels * PATCH**2)


def _unpacked(rows: "torch.Tensor", latents: "torch.Tensor") -> "torch.Tensor":
    """The way back, to the shape of ``latents``."""
    count, channels, height, width = latents.shape
    apart = rows.reshape(count, height // PATCH, width // PATCH, channels, PATCH, PATCH)
    return apart.permute(0, 3, 1, 4, 2, 5).reshape(latents.shape)


def _places(latents: "torch.Tensor") -> "torch.Tensor":
    """0, row and column of each token, (h/2 w/2, 3)."""
    import torch

    height, width = (side // PATCH for side in latents.shape[-2:])
    zero, down, right = (torch.arange(n, device=latents.device) for n in (1, height, width))
    return torch.cartesian_prod(zero, down, right)


def _tell(made: "Sequence[Encoded]", transformer: Config) -> "Conditioning":
    from esdctl.diffusion.conditioning import Conditioning

    clip, t5 = made
    guidance = None
    if _takes_guidance(transformer):
        guidance = t5.hidden.new_full((len(t5.hidden),), GUIDANCE)
    return Conditioning(t5.hidden, clip.pooled, guidance=guidance)


def _schedule(config: Config, latents: tuple[int, int]) -> "Schedule":
    from esdctl.diffusion.flow import LengthShift, even_flow, length_flow

    if not config["use_dynamic_shifting"]:
        return even_flow(float(config["shift"]))
    shift = LengthShift(
        int(config["base_image_seq_len"]), float(config["base_shift"]),
        int(config["max_image_seq_len"]), float(config["max_shift"]),
    )  # fmt: skip
    return length_flow(latents[0] // PATCH * (latents[1] // PATCH), shift)


FAMILY = Family(
    name="flux",
    title="FLUX.1",
    pipeline="FluxPipeline",
    same_pipelines=frozenset({"FluxImg2ImgPipeline", "FluxInpaintPipeline"}),
    parts={
        "transformer": ModelPart(
            "diffusers",
            "FluxTransformer2DModel",
            LDM_UNET,
            "bfl",
            only={
                "patch_size": (1,),
                "in_channels": (64,),  # more are of FLUX.1 Fill and of its controls
                "out_channels": (None, 64),
                "quantization_config": (None,),
            },
            free=frozenset(
                {
                    "num_layers", "num_single_layers", "attention_head_dim", "num_attention_heads",
                    "joint_attention_dim", "pooled_projection_dim", "guidance_embeds",
                    "axes_dims_rope",
                }
            ),
        ),
        "vae": replace(FLOW_VAE, prefix=COMFY_VAE),
        "text_encoder": ModelPart(
            "transformers", "CLIPTextModel", f"{COMFY_CLIP_L}transformer.", "clip", TEXT_ONLY
        ),
        "text_encoder_2": ModelPart(
            "transformers", "T5EncoderModel", f"{COMFY_T5}transformer.", "t5"
        ),
    },
    encoders=(
        TextEncoder(
            "text_encoder", "tokenizer", activation="quick_gelu", is_pooled=True,
            pooled="pooler_output",
        ),
        TextEncoder("text_encoder_2", "tokenizer_2", kind="t5", longest=T5_TOKENS),
    ),
    denoiser=Denoiser(
        "transformer", _ask, _tell, _is_config, "transformer", _unpacked,
        groups=GROUPS_WITH_SINGLE_BLOCKS,
        patch=lambda transformer: PATCH,
        takes_guidance=_takes_guidance,
    ),
    process=flow_process(
        {
            "shift": 3.0, "use_dynamic_shifting": True, "base_image_seq_len": 256,
            "base_shift": 0.5, "max_image_seq_len": 4096, "max_shift": 1.15,
        },
        {"time_shift_type": ("exponential",)},
        side=128,
        schedule=_schedule,
    ),
    guidance=GUIDANCE,
    checkpoint_mark=f"{LDM_UNET}{_MARK}",
    one_file=OneFile(_MARK, _config_of, _scheduler_of, _TASKS, is_bare=True),
    vae=LATENTS,
    pipeline_options={"feature_extractor": [None, None], "image_encoder": [None, None]},
    lora_names="transformer",
    kohya_names="bfl",
)  # fmt: skip
