"""The config of each part of a CompVis checkpoint, told from names and shapes alone."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol

from esdctl.checkpoints.layouts.ldm_config import LdmConfig
from esdctl.errors import InputError
from esdctl.models.families.family import Family, TextEncoder
from esdctl.models.families.registry import family_of_names, titles
from esdctl.models.families.tensor_names import LDM_UNET, LDM_VAE, SGM_TEXT_1

GROUPS = 32  # of LDM's group norms, wherever the channels allow it
CHANNELS_A_HEAD = 64  # SD 2.x, XL and every CLIP
# CLIP's vocabulary (bpe_simple_vocab_16e6.txt), and its tokens of a text's start and end.
VOCABULARY, START, END = 49_408, 49_406, 49_407
# Networks that lie under LDM's prefix, too, by the beginning of their modules' names: what is built
# on one that we read, and others.
_KINDRED = {
    f"{LDM_UNET}distilled_guidance_layer.": "Chroma",
    f"{LDM_UNET}txt_in.individual_token_refiner.": "HunyuanVideo",
}
_OTHERS = {
    f"{LDM_UNET}double_blocks.": "a kind of FLUX",
    f"{LDM_UNET}joint_blocks.": "a kind of Stable Diffusion 3",
    f"{LDM_UNET}down_blocks.": "a U-Net under diffusers' names",
    f"{LDM_UNET}transformer_blocks.": "a diffusion transformer",
}


class HasShape(Protocol):
    @property
    def shape(self) -> tuple[int, ...]: ...


Shapes = Mapping[str, HasShape]


def family_of(infos: Shapes, source: Path) -> Family:
    """The family of a checkpoint, by its transformer, or the text encoders beside its U-Net.

    Raises:
        InputError: it is of none of them, or a part is missing.
    """
    family = family_of_names(infos)
    is_known = family is not None and family.one_file is not None
    for mark, other in {**_KINDRED, **({} if is_known else _OTHERS)}.items():
        name = next((name for name in infos if name.startswith(mark)), None)
        if name is not None:
            raise InputError(
                f"{source} is a file of {other}, which this version does not read ({name})",
                f"give a pipeline folder of diffusers ({titles()}), or a file of "
                f"{titles(in_one_file=True)}",
            )
    if family is not None and is_known:
        return family
    if not any(name.startswith(LDM_UNET) for name in infos):
        refuse(source, f"it holds no U-Net under {LDM_UNET}")
    if not any(name.startswith(LDM_VAE) for name in infos):
        refuse(source, f"it holds no VAE under {LDM_VAE}")
    if family is not None:
        return family
    if any(name.startswith(f"{SGM_TEXT_1}model.") for name in infos):
        refuse(source, "it is SDXL's refiner, which no text-to-image training suits")
    refuse(source, f"it holds no text encoder of {titles(in_one_file=True)}")


def unet_config(infos: Shapes, source: Path, family: Family, ldm: LdmConfig) -> dict[str, Any]:
    """The U-Net's config.json but for ``sample_size``, which no shape tells.

    Args:
        infos: the checkpoint's tensors.
        source: for messages.
        family: the checkpoint's.
        ldm: says the heads, where the user has an LDM config file.
    """
    levels = _levels(infos, source)
    widths = [level["width"] for level in levels]
    first = shape_of(infos, f"{LDM_UNET}input_blocks.0.0.weight", source)
    linear = len(shape_of(infos, f"{LDM_UNET}middle_block.1.proj_in.weight", source)) == 2
    to_k = f"{LDM_UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight"
    config: dict[str, Any] = {
        "_class_name": "UNet2DConditionModel",
        "in_channels": first[1],
        "out_channels": shape_of(infos, f"{LDM_UNET}out.2.weight", source)[0],
        "block_out_channels": widths,
        "layers_per_block": levels[0]["layers"],
        "down_block_types": [
            "CrossAttnDownBlock2D" if level["depth"] else "DownBlock2D" for level in levels
        ],
        "up_block_types": [
            "CrossAttnUpBlock2D" if level["depth"] else "UpBlock2D" for level in reversed(levels)
        ],
        "transformer_layers_per_block": _depths(infos, levels),
        "cross_attention_dim": shape_of(infos, to_k, source)[1],
        "attention_head_dim": _heads(ldm, widths, family),
        "use_linear_projection": linear,
        "norm_num_groups": math.gcd(GROUPS, *widths),
    }
    if family.has_size_conditions:
        pooled = sum(
            shape_of(infos, f"{family.parts[encoder.part].prefix}text_projection", source)[1]
            for encoder in family.encoders
            if encoder.is_pooled
        )
        added = shape_of(infos, f"{LDM_UNET}label_emb.0.0.weight", source)[1]
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": (added - pooled) // 6,  # six time ids
            "projection_class_embeddings_input_dim": added,
        }
    return config


def vae_config(infos: Shapes, source: Path, family: Family, scale: float | None) -> dict[str, Any]:
    """The VAE's config.json but for ``sample_size``; ``scale`` is what an LDM config file says."""
    prefix = family.parts["vae"].prefix
    widths, level = [], 0
    while (name := f"{prefix}encoder.down.{level}.block.0.conv2.weight") in infos:
        widths.append(infos[name].shape[0])
        level += 1
    conv_in = shape_of(infos, f"{prefix}encoder.conv_in.weight", source)
    if not widths:
        refuse(source, "its VAE has no levels")
    layers = count_of(infos, rf"{re.escape(prefix)}encoder\.down\.0\.block\.(\d+)\.")
    config: dict[str, Any] = {
        "_class_name": "AutoencoderKL",
        "in_channels": conv_in[1],
        "out_channels": shape_of(infos, f"{prefix}decoder.conv_out.weight", source)[0],
        "latent_channels": shape_of(infos, f"{prefix}decoder.conv_in.weight", source)[1],
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "layers_per_block": layers,
        "norm_num_groups": math.gcd(GROUPS, *widths),
        **family.vae,
    }
    if family.one_file is not None:
        names = ("quant_conv", "post_quant_conv")
        config |= {f"use_{name}": f"{prefix}{name}.weight" in infos for name in names}
    return config if scale is None else {**config, "scaling_factor": scale}


def text_config(
    infos: Shapes, source: Path, family: Family, encoder: TextEncoder, layer: str | None
) -> dict[str, Any]:
    """The config.json of one of the text encoders.

    Args:
        infos: the checkpoint's tensors.
        source: for messages.
        family: the checkpoint's.
        encoder: which of the family's.
        layer: ``last`` or ``penultimate``, where an LDM config file says which is read.
    """
    part = family.parts[encoder.part]
    read = _clip_sizes if part.table == "clip" else _open_clip_sizes
    vocabulary, width, layers, inner, tokens = read(infos, part.prefix, source)
    if vocabulary < VOCABULARY:
        refuse(
            source, f"its {encoder.part} knows {vocabulary} tokens, fewer than CLIP's {VOCABULARY}"
        )
    if _holds_unused_layer(infos, part.prefix, encoder, width, layers, layer):
        layers -= 1
    projected = width
    if encoder.is_pooled and part.table == "open_clip":
        projected = shape_of(infos, f"{part.prefix}text_projection", source)[1]
    elif encoder.is_pooled and encoder.pooled == "text_embeds" and not part.identity:
        projected = shape_of(infos, f"{part.prefix}text_projection.weight", source)[0]
    return {
        "model_type": "clip_text_model",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // CHANNELS_A_HEAD),
        "max_position_embeddings": tokens,
        "hidden_act": encoder.activation,
        "layer_norm_eps": 1e-5,
        "bos_token_id": START,
        "eos_token_id": END,
        "pad_token_id": END if encoder.padding is None else 0,
        "architectures": [part.class_name],
        "projection_dim": projected,
    }


def _holds_unused_layer(
    infos: Shapes, prefix: str, encoder: TextEncoder, width: int, layers: int, layer: str | None
) -> bool:
    """Whether a checkpoint holds the whole encoder, whose last layer nothing reads.

    Of one that was written from a pipeline folder every layer is read. Where the published number
    of layers is unknown the projection tells: it goes with the whole encoder.
    """
    if encoder.full_layers is None or layer == "last":
        return False
    if width in encoder.full_layers:
        return layers == encoder.full_layers[width]
    return f"{prefix}text_projection" in infos


def _clip_sizes(infos: Shapes, prefix: str, source: Path) -> tuple[int, int, int, int, int]:
    """Vocabulary, width, layers, inner width and tokens of OpenAI's CLIP."""
    prefix = f"{prefix}text_model."
    vocabulary, width = shape_of(infos, f"{prefix}embeddings.token_embedding.weight", source)
    layers = count_of(infos, rf"{re.escape(prefix)}encoder\.layers\.(\d+)\.")
    inner = shape_of(infos, f"{prefix}encoder.layers.0.mlp.fc1.weight", source)[0]
    tokens = shape_of(infos, f"{prefix}embeddings.position_embedding.weight", source)[0]
    return vocabulary, width, layers, inner, tokens


def _open_clip_sizes(infos: Shapes, prefix: str, source: Path) -> tuple[int, int, int, int, int]:
    """The same of OpenCLIP."""
    vocabulary, width = shape_of(infos, f"{prefix}token_embedding.weight", source)
    layers = count_of(infos, rf"{re.escape(prefix)}transformer\.resblocks\.(\d+)\.")
    inner = shape_of(infos, f"{prefix}transformer.resblocks.0.mlp.c_fc.weight", source)[0]
    tokens = shape_of(infos, f"{prefix}positional_embedding", source)[0]
    return vocabulary, width, layers, inner, tokens


def _levels(infos: Shapes, source: Path) -> list[dict[str, int]]:
    """The way down: each level's width, number of resnets, and depth of its transformers."""
    levels: list[dict[str, int]] = [{"width": 0, "layers": 0, "depth": 0}]
    blocks = count_of(infos, rf"{re.escape(LDM_UNET)}input_blocks\.(\d+)\.")
    for index in range(1, blocks):
        block = f"{LDM_UNET}input_blocks.{index}."
        if f"{block}0.op.weight" in infos:
            levels.append({"width": 0, "layers": 0, "depth": 0})
            continue
        levels[-1]["width"] = shape_of(infos, f"{block}0.in_layers.2.weight", source)[0]
        levels[-1]["layers"] += 1
        depth = count_of(infos, rf"{re.escape(block)}1\.transformer_blocks\.(\d+)\.")
        levels[-1]["depth"] = max(levels[-1]["depth"], depth)
    if blocks < 2 or not all(level["layers"] for level in levels):
        refuse(source, "its U-Net's input blocks are not those of Stable Diffusion")
    return levels


def _depths(infos: Shapes, levels: list[dict[str, int]]) -> int | list[int]:
    """Transformer blocks of each level; one number where all agree."""
    middle = count_of(infos, rf"{re.escape(LDM_UNET)}middle_block\.1\.transformer_blocks\.(\d+)\.")
    depths = [level["depth"] or 1 for level in levels]
    if levels[-1]["depth"] == 0 and middle:  # no transformer there, so the middle's depth counts
        depths[-1] = middle
    return depths[0] if len(set(depths)) == 1 else depths


def _heads(ldm: LdmConfig, widths: list[int], family: Family) -> int | list[int]:
    """diffusers calls the number of heads ``attention_head_dim``, in every Stable Diffusion."""
    if ldm.heads is not None:
        return ldm.heads
    if ldm.channels_a_head is None and family.heads is not None:
        return family.heads
    channels = ldm.channels_a_head or CHANNELS_A_HEAD
    return [max(1, width // channels) for width in widths]


def count_of(infos: Shapes, pattern: str) -> int:
    """One more than the largest number that the pattern finds in a name; 0 without any."""
    found = (re.match(pattern, name) for name in infos)
    return max((int(match.group(1)) + 1 for match in found if match), default=0)


def shape_of(infos: Shapes, name: str, source: Path) -> tuple[int, ...]:
    """A tensor's shape; a checkpoint without it is refused."""
    if name not in infos:
        refuse(source, f"it lacks {name}")
    return infos[name].shape


def refuse(source: Path, reason: str) -> NoReturn:
    """Refuse what is no whole checkpoint of a U-Net's family."""
    raise InputError(
        f"{source} is no complete Stable Diffusion checkpoint: {reason}",
        f"give a checkpoint with U-Net, VAE and text encoder ({titles(in_one_file=True)})",
    )
