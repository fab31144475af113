"""FLUX.2 klein base (Black Forest Labs 2025): a transformer of double and single blocks; 1024 px.

A token is 2 x 2 places of the VAE's latents, which a batch normalisation of the VAE scales. Qwen3,
a chat model, reads the prompt as a user's turn; the outputs of three of its layers lie side by
side. It is guided by a second pass under the empty prompt.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from esdctl.models.families.family import (
    Config,
    Denoiser,
    Family,
    Latents,
    ModelPart,
    OneFile,
    TextEncoder,
)
from esdctl.models.families.flow_models import FLOW_VAE, black_forest_config, flow_process
from esdctl.models.families.tensor_names import LDM_UNET
from esdctl.models.families.transformer_groups import GROUPS_OF_FLUX_2

if TYPE_CHECKING:
    import torch

    from esdctl.diffusion.conditioning import Conditioning, Encoded
    from esdctl.diffusion.schedule import Schedule

PATCH = 2  # places of the VAE's latents a side of a token
TOKENS = 512  # as diffusers reads a prompt
LAYERS = (9, 18, 27)  # of Qwen3, flux2's OUTPUT_LAYERS_QWEN3
STEPS = 50  # of the published pictures
GUIDANCE = 4.0  # likewise
AXES = (32, 32, 32, 32)  # channels of a head that turn with each of a token's places
_MARK = "double_stream_modulation_img.lin.weight"


def _is_config(transformer: Config) -> bool:
    return transformer.get("_class_name") == "Flux2Transformer2DModel"


def _ask(
    latents: "torch.Tensor", timesteps: "torch.Tensor", conditioning: "Conditioning"
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    height, width = latents.shape[-2:]
    rows = latents.flatten(2).transpose(1, 2)  # a row a token, (B, h w, C)
    return (), {
        "hidden_states": rows,
        "timestep": timesteps / 1000,
        "guidance": None,
        "encoder_hidden_states": conditioning.embeddings,
        "txt_ids": _places(latents, 1, 1, conditioning.embeddings.shape[1]),
        "img_ids": _places(latents, height, width, 1),
        "return_dict": False,
    }


def _places(latents: "torch.Tensor", height: int, width: int, tokens: int) -> "torch.Tensor":
    """0, row and column in the picture, and place in the text, of each token, (N, 4)."""
    import torch

    zero, down, right, along = (
        torch.arange(n, device=latents.device) for n in (1, height, width, tokens)
    )
    return torch.cartesian_prod(zero, down, right, along)


def _answer(rows: "torch.Tensor", latents: "torch.Tensor") -> "torch.Tensor":
    """A row a token, (B, h w, C), to the shape of ``latents``."""
    return rows.transpose(1, 2).reshape(latents.shape)


def _tell(made: "Sequence[Encoded]", transformer: Config) -> "Conditioning":
    from esdctl.diffusion.conditioning import Conditioning

    return Conditioning(made[0].hidden)


def _of_vae(vae: Any, latents: "torch.Tensor") -> "torch.Tensor":
    import torch.nn.functional as F

    mean, deviation = _moments(vae)
    return (F.pixel_unshuffle(latents, PATCH) - mean) / deviation


def _to_vae(vae: Any, latents: "torch.Tensor") -> "torch.Tensor":
    import torch.nn.functional as F

    mean, deviation = _moments(vae)
    return F.pixel_shuffle(latents * deviation + mean, PATCH)


def _moments(vae: Any) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Mean and deviation of each channel of a token, (C, 1, 1)."""
    mean, variance = vae.bn.running_mean, vae.bn.running_var
    deviation = (variance + float(vae.config.batch_norm_eps)).sqrt()
    return mean.view(-1, 1, 1), deviation.view(-1, 1, 1)


def _schedule(config: Config, latents: tuple[int, int]) -> "Schedule":
    from esdctl.diffusion.flow import empirical_flow, even_flow

    if not config["use_dynamic_shifting"]:
        return even_flow(float(config["shift"]))
    return empirical_flow(latents[0] * latents[1], STEPS)


def _config_of(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """What the shapes of Black Forest Labs' file say of the transformer."""
    width, inner = shapes["double_blocks.0.img_mlp.2.weight"]
    return {
        "_class_name": "Flux2Transformer2DModel",
        **black_forest_config(shapes, AXES, "FLUX.2"),
        "timestep_guidance_channels": shapes["time_in.in_layer.weight"][1],
        "mlp_ratio": inner / width,
        "rope_theta": 2000,
        "eps": 1e-6,
    }


_OF_VAE = frozenset({"decoder_block_out_channels", "batch_norm_eps", "batch_norm_momentum"})
_NOT_OF_VAE = frozenset({"scaling_factor", "shift_factor"})  # it is its batch norm that scales

FAMILY = Family(
    name="flux2",
    title="FLUX.2 klein",
    pipeline="Flux2KleinPipeline",
    same_pipelines=frozenset({"Flux2KleinInpaintPipeline"}),
    parts={
        "transformer": ModelPart(
            "diffusers",
            "Flux2Transformer2DModel",
            LDM_UNET,
            "bfl2",
            only={
                "patch_size": (1,),
                "out_channels": (None, 128),
                "guidance_embeds": (False,),  # FLUX.2 dev takes the scale of guidance as an input
                "quantization_config": (None,),
            },
            free=frozenset(
                {
                    "in_channels", "num_layers", "num_single_layers", "attention_head_dim",
                    "num_attention_heads", "joint_attention_dim", "timestep_guidance_channels",
                    "mlp_ratio", "axes_dims_rope", "rope_theta", "eps",
                }
            ),
        ),
        "vae": ModelPart(
            "diffusers",
            "AutoencoderKLFlux2",
            only={**FLOW_VAE.only, "patch_size": (PATCH,)},
            free=(_OF_VAE | (FLOW_VAE.free or _OF_VAE)) - _NOT_OF_VAE,
        ),
        "text_encoder": ModelPart(
            "transformers", "Qwen3ForCausalLM", only={"quantization_config": (None,)}
        ),
    },
    encoders=(
        TextEncoder("text_encoder", "tokenizer", kind="chat", layers=LAYERS, longest=TOKENS),
    ),
    denoiser=Denoiser(
        "transformer", _ask, _tell, _is_config, "transformer", _answer, groups=GROUPS_OF_FLUX_2
    ),
    process=flow_process(
        {"shift": 3.0, "use_dynamic_shifting": True},
        {"time_shift_type": ("exponential",)},
        side=64,
        schedule=_schedule,
    ),
    latents=Latents(_of_vae, _to_vae, patch=PATCH, channels=32),
    guidance=GUIDANCE,
    pipeline_options={"is_distilled": False},
    lora_names="transformer",
    kohya_names="bfl2",
    checkpoint_mark=f"{LDM_UNET}{_MARK}",
    one_file=OneFile(_MARK, _config_of, is_bare=True),
)  # fmt: skip
