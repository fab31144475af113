"""What models that flow matching trains share: the process, and the VAE of SD 3 and FLUX.1."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from esdctl.models.families.family import Config, ModelPart, Process
from esdctl.models.families.latent_diffusion import VAE
from esdctl.settings.prediction import FLOW, PredictionType

if TYPE_CHECKING:
    from esdctl.diffusion.schedule import Schedule

_OPEN = ("latent_channels", "shift_factor", "use_quant_conv", "use_post_quant_conv")
FLOW_VAE = ModelPart(
    "diffusers",
    "AutoencoderKL",
    table="vae",
    only={key: values for key, values in VAE.only.items() if key not in _OPEN},
    free=frozenset({*(VAE.free or ()), *_OPEN}),
)
_ONLY: Mapping[str, tuple[object, ...]] = {
    "num_train_timesteps": (1000,),
    "shift_terminal": (None,),
    "use_karras_sigmas": (None, False),
    "use_exponential_sigmas": (None, False),
    "use_beta_sigmas": (None, False),
    "invert_sigmas": (None, False),
}


def flow_process(
    scheduler: Config,
    only: Mapping[str, tuple[object, ...]],
    side: int,
    schedule: "Callable[[Config, tuple[int, int]], Schedule]",
) -> Process:
    """A flow from noise to picture; the network predicts its velocity.

    Args:
        scheduler: what the published pipelines' scheduler_config.json says of the shift.
        only: as in ``Process``, beside what every flow asks for.
        side: of the latents of the published models.
        schedule: as in ``Process``.
    """
    return Process(
        scheduler={"_class_name": "FlowMatchEulerDiscreteScheduler", **scheduler},
        samplers=frozenset({"FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler"}),
        only={**_ONLY, **only},
        unused={"stochastic_sampling": (None, False)},
        prediction=_prediction,
        latents_side={FLOW: side},
        schedule=schedule,
        prediction_type=FLOW,
    )


def black_forest_config(
    shapes: Mapping[str, tuple[int, ...]], axes: tuple[int, ...], title: str
) -> dict[str, Any]:
    """What every transformer of Black Forest Labs says by its shapes, as in config.json.

    Args:
        shapes: of its tensors, under their makers' names.
        axes: channels of a head that turn with each of a token's places.
        title: the family's, for messages.

    Raises:
        KeyError: a tensor is missing.
        ValueError: its heads are of another width.
    """
    width, channels = shapes["img_in.weight"]
    [head] = shapes["double_blocks.0.img_attn.norm.query_norm.scale"]
    if head != sum(axes):
        raise ValueError(f"its heads have {head} channels, and those of {title} {sum(axes)}")
    return {
        "patch_size": 1,
        "in_channels": channels,
        "num_layers": _count_blocks(shapes, "double_blocks."),
        "num_single_layers": _count_blocks(shapes, "single_blocks."),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shapes["txt_in.weight"][1],
        "guidance_embeds": "guidance_in.in_layer.weight" in shapes,
        "axes_dims_rope": list(axes),
    }


def _count_blocks(shapes: Mapping[str, tuple[int, ...]], blocks: str) -> int:
    return 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith(blocks))


def _prediction(metadata: Mapping[str, str]) -> tuple[PredictionType, tuple[str, ...]]:
    return FLOW, ()
