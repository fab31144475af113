"""The rows of the key map: a module of CompVis' layout beside the same module of diffusers'.

A row pairs modules (or whole tensors); what follows in a tensor's name is the same in both layouts.
"""

import re
from collections.abc import Iterable

from esdctl.checkpoints.layouts.key_rows_transformer import flux_rows, sd3_rows
from esdctl.checkpoints.layouts.transforms import Row
from esdctl.models.families.family import NameTable

_UNET_ENDS: tuple[Row, ...] = (
    ("time_embed.0", "time_embedding.linear_1", "same"),
    ("time_embed.2", "time_embedding.linear_2", "same"),
    ("label_emb.0.0", "add_embedding.linear_1", "same"),
    ("label_emb.0.2", "add_embedding.linear_2", "same"),
    ("input_blocks.0.0", "conv_in", "same"),
    ("middle_block.1", "mid_block.attentions.0", "same"),
    ("out.0", "conv_norm_out", "same"),
    ("out.2", "conv_out", "same"),
)
_UNET_RESNET: tuple[Row, ...] = (
    ("in_layers.0", "norm1", "same"),
    ("in_layers.2", "conv1", "same"),
    ("emb_layers.1", "time_emb_proj", "same"),
    ("out_layers.0", "norm2", "same"),
    ("out_layers.3", "conv2", "same"),
    ("skip_connection", "conv_shortcut", "same"),
)
_VAE_RESNET: tuple[Row, ...] = (
    ("norm1", "norm1", "same"),
    ("conv1", "conv1", "same"),
    ("norm2", "norm2", "same"),
    ("conv2", "conv2", "same"),
    ("nin_shortcut", "conv_shortcut", "same"),
)
_VAE_ENDS: tuple[Row, ...] = (
    ("conv_in", "conv_in", "same"),
    ("norm_out", "conv_norm_out", "same"),
    ("conv_out", "conv_out", "same"),
    ("mid.attn_1.norm", "mid_block.attentions.0.group_norm", "same"),
    ("mid.attn_1.q", "mid_block.attentions.0.to_q", "conv"),
    ("mid.attn_1.k", "mid_block.attentions.0.to_k", "conv"),
    ("mid.attn_1.v", "mid_block.attentions.0.to_v", "conv"),
    ("mid.attn_1.proj_out", "mid_block.attentions.0.to_out.0", "conv"),
)
_VAE_QUANT: tuple[Row, ...] = (
    ("quant_conv", "quant_conv", "same"),
    ("post_quant_conv", "post_quant_conv", "same"),
)
_CLIP: tuple[Row, ...] = (
    ("text_model.embeddings", "embeddings", "same"),
    ("text_model.encoder", "encoder", "same"),
    ("text_model.final_layer_norm", "final_layer_norm", "same"),
    ("text_projection", "text_projection", "same"),
)
_T5: tuple[Row, ...] = (
    ("shared", "shared", "same"),
    ("encoder", "encoder", "same"),
)
_OPEN_CLIP_ENDS: tuple[Row, ...] = (
    ("positional_embedding", "embeddings.position_embedding.weight", "same"),
    ("token_embedding", "embeddings.token_embedding", "same"),
    ("ln_final", "final_layer_norm", "same"),
    ("text_projection", "text_projection.weight", "transposed"),
)
_OPEN_CLIP_LAYER: tuple[Row, ...] = (
    ("ln_1", "layer_norm1", "same"),
    ("attn.in_proj_weight", "self_attn.q_proj.weight", "q"),
    ("attn.in_proj_weight", "self_attn.k_proj.weight", "k"),
    ("attn.in_proj_weight", "self_attn.v_proj.weight", "v"),
    ("attn.in_proj_bias", "self_attn.q_proj.bias", "q"),
    ("attn.in_proj_bias", "self_attn.k_proj.bias", "k"),
    ("attn.in_proj_bias", "self_attn.v_proj.bias", "v"),
    ("attn.out_proj", "self_attn.out_proj", "same"),
    ("ln_2", "layer_norm2", "same"),
    ("mlp.c_fc", "mlp.fc1", "same"),
    ("mlp.c_proj", "mlp.fc2", "same"),
)


def rows_for(table: NameTable, names: list[str]) -> Iterable[Row]:
    """The rows of one part.

    Args:
        table: which part's.
        names: all its names under diffusers' names; they say how many levels and layers it has.
    """
    if table == "unet":
        return _unet_rows(names)
    if table == "vae":
        return _vae_rows(names)
    if table == "clip":
        return _CLIP
    if table == "t5":
        return _T5
    if table == "bfl" or table == "bfl2":
        double, single = (
            1 + _largest(rf"^{kind}transformer_blocks\.(\d+)\.", names) for kind in ("", "single_")
        )
        return flux_rows(table, double, single, _under)
    if table == "mmdit":
        return sd3_rows(1 + _largest(r"^transformer_blocks\.(\d+)\.", names), _under)
    layers = 1 + _largest(r"encoder\.layers\.(\d+)\.", names)
    return [
        *_OPEN_CLIP_ENDS,
        *(
            row
            for layer in range(layers)
            for row in _under(
                f"transformer.resblocks.{layer}", f"encoder.layers.{layer}", _OPEN_CLIP_LAYER
            )
        ),
    ]


def _unet_rows(names: list[str]) -> list[Row]:
    """n layers a level: CompVis counts n+1 blocks a level, down (its convolution first) and up."""
    layers, levels, attended = _unet_size(names)
    step = layers + 1
    rows: list[Row] = list(_UNET_ENDS)
    rows += _under("middle_block.0", "mid_block.resnets.0", _UNET_RESNET)
    rows += _under("middle_block.2", "mid_block.resnets.1", _UNET_RESNET)
    for level in range(levels):
        down, up = f"down_blocks.{level}", f"up_blocks.{level}"
        for layer in range(layers):
            ldm = f"input_blocks.{step * level + layer + 1}"
            rows += _under(f"{ldm}.0", f"{down}.resnets.{layer}", _UNET_RESNET)
            rows.append((f"{ldm}.1", f"{down}.attentions.{layer}", "same"))
        for layer in range(step):
            ldm = f"output_blocks.{step * level + layer}"
            rows += _under(f"{ldm}.0", f"{up}.resnets.{layer}", _UNET_RESNET)
            rows.append((f"{ldm}.1", f"{up}.attentions.{layer}", "same"))
        rows.append(
            (f"input_blocks.{step * (level + 1)}.0.op", f"{down}.downsamplers.0.conv", "same")
        )
        place = 2 if level in attended else 1
        ldm = f"output_blocks.{step * level + layers}.{place}.conv"
        rows.append((ldm, f"{up}.upsamplers.0.conv", "same"))
    return rows


def _unet_size(names: list[str]) -> tuple[int, int, set[int]]:
    """Layers a level, levels, and the upward levels that have attention."""
    layers = 1 + _largest(r"down_blocks\.\d+\.(?:resnets|attentions)\.(\d+)\.", names)
    levels = 1 + _largest(r"(?:down|up)_blocks\.(\d+)\.", names)
    return layers, levels, _numbers(r"up_blocks\.(\d+)\.attentions\.", names)


def _vae_rows(names: list[str]) -> list[Row]:
    """CompVis counts the decoder's levels from the finest one, diffusers from the coarsest."""
    levels = 1 + _largest(r"(?:encoder\.down|decoder\.up)_blocks\.(\d+)\.", names)
    layers = 1 + _largest(r"\.resnets\.(\d+)\.", names)
    rows: list[Row] = list(_VAE_QUANT)
    for side, down, move in (("encoder", "down", "downsample"), ("decoder", "up", "upsample")):
        rows += _under(side, side, _VAE_ENDS)
        for index in (0, 1):
            ldm = f"{side}.mid.block_{index + 1}"
            rows += _under(ldm, f"{side}.mid_block.resnets.{index}", _VAE_RESNET)
        for level in range(levels):
            ldm = f"{side}.{down}.{level if down == 'down' else levels - 1 - level}"
            diffusers = f"{side}.{down}_blocks.{level}"
            rows.append((f"{ldm}.{move}.conv", f"{diffusers}.{move}rs.0.conv", "same"))
            for layer in range(layers):
                block = f"{ldm}.block.{layer}"
                rows += _under(block, f"{diffusers}.resnets.{layer}", _VAE_RESNET)
    return rows


def _under(ldm: str, diffusers: str, rows: Iterable[Row]) -> list[Row]:
    return [(f"{ldm}.{a}", f"{diffusers}.{b}", transform) for a, b, transform in rows]


def _numbers(pattern: str, names: list[str]) -> set[int]:
    found = (re.search(pattern, name) for name in names)
    return {int(match[1]) for match in found if match}


def _largest(pattern: str, names: list[str]) -> int:
    return max(_numbers(pattern, names), default=-1)
