"""An architecture as an LDM config file, which other tools read beside a CompVis checkpoint."""

from typing import Any

import yaml

from esdctl.checkpoints.layouts.architecture import FORMAT, Architecture


def ldm_yaml(architecture: Architecture) -> str | None:
    """The LDM config file of a model; below ``esdctl`` it holds the exact architecture as well.

    What stands here is what CompVis' and Stability's ``instantiate_from_config`` need: without
    ``conditioning_key`` LDM concatenates in place of attending, without ``use_ema: false`` it
    samples with averages that no such checkpoint holds, and an unknown parameter is an error there.

    Args:
        architecture: of the checkpoint that the file goes with.

    Returns:
        YAML, for ``NAME.yaml`` beside ``NAME.ckpt``; None where LDM has no such model (SDXL).
    """
    if architecture.family.ldm_text is None:
        return None
    params: dict[str, Any] = {
        "linear_start": architecture.noise["beta_start"],
        "linear_end": architecture.noise["beta_end"],
        "timesteps": architecture.noise["num_train_timesteps"],
        "num_timesteps_cond": 1,
        "first_stage_key": "jpg",
        "cond_stage_key": "txt",
        "cond_stage_trainable": False,
        "conditioning_key": "crossattn",
        "image_size": architecture.denoiser.get("sample_size", 64),
        "channels": _channels(architecture),
        "use_ema": False,
        "parameterization": "v" if architecture.prediction_type == "v_prediction" else "eps",
        "scale_factor": architecture.vae.get("scaling_factor", 0.18215),
        "unet_config": {
            "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
            "params": _unet(architecture),
        },
        "first_stage_config": {
            "target": "ldm.models.autoencoder.AutoencoderKL",
            "params": {
                "embed_dim": _channels(architecture),
                "ddconfig": _vae(architecture),
                "lossconfig": {"target": "torch.nn.Identity"},
            },
        },
        **architecture.family.ldm_text,
    }
    document = {
        "model": {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": params},
        "esdctl": {"format": FORMAT, "architecture": _plain(architecture.document())},
    }
    return yaml.safe_dump(document, sort_keys=False)


def _unet(architecture: Architecture) -> dict[str, Any]:
    unet = architecture.denoiser
    widths = unet["block_out_channels"]
    depth = unet.get("transformer_layers_per_block", 1)
    with_attention = [kind.startswith("CrossAttn") for kind in unet["down_block_types"]]
    heads = unet.get("attention_head_dim", 8)
    params: dict[str, Any] = {
        "image_size": unet.get("sample_size", 64),
        "in_channels": unet.get("in_channels", 4),
        "out_channels": unet.get("out_channels", 4),
        "model_channels": widths[0],
        "channel_mult": [_multiple(width, widths[0]) for width in widths],
        "num_res_blocks": unet.get("layers_per_block", 2),
        "attention_resolutions": [2**i for i, has in enumerate(with_attention) if has][::-1],
        "use_spatial_transformer": True,
        "transformer_depth": depth if isinstance(depth, int) else list(depth),
        "context_dim": unet["cross_attention_dim"],
        "legacy": False,
    }
    if unet.get("use_linear_projection"):
        params["use_linear_in_transformer"] = True
    if isinstance(heads, int):
        params["num_heads"] = heads
    else:
        params["num_head_channels"] = widths[-1] // heads[-1]
    return params


def _vae(architecture: Architecture) -> dict[str, Any]:
    vae = architecture.vae
    widths = vae["block_out_channels"]
    return {
        "double_z": True,
        "z_channels": _channels(architecture),
        "resolution": vae.get("sample_size", 256),
        "in_channels": vae.get("in_channels", 3),
        "out_ch": vae.get("out_channels", 3),
        "ch": widths[0],
        "ch_mult": [_multiple(width, widths[0]) for width in widths],
        "num_res_blocks": vae.get("layers_per_block", 2),
        "attn_resolutions": [],
        "dropout": 0.0,
    }


def _channels(architecture: Architecture) -> int:
    channels: int = architecture.vae.get("latent_channels", 4)
    return channels


def _multiple(width: int, first: int) -> int | float:
    """LDM's files hold whole numbers; pocket's second level is 1.5 times as wide as its first."""
    return width // first if width % first == 0 else width / first


def _plain(value: Any) -> Any:
    """Tuples as lists, which YAML's safe form needs."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
