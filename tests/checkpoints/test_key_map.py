"""The key map against diffusers' own converters, against published names, and against itself."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils as oracle
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from esdctl.checkpoints.layouts.key_map import places, to_compvis, unet_to_compvis
from esdctl.errors import InputError
from esdctl.models.families.registry import family_named

_SD: Mapping[str, Any] = {
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (32, 64, 128, 128),
    "cross_attention_dim": 32,
}
_XL: Mapping[str, Any] = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (32, 64, 128),
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 32,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 16,
    "projection_class_embeddings_input_dim": 128,
}
UNETS: Mapping[str, Mapping[str, Any]] = {
    "sd1": _SD,
    "sd2": {**_SD, "use_linear_projection": True},
    "sdxl": _XL,
    "one layer a level": {**_SD, "layers_per_block": 1},
    "three layers a level": {**_SD, "layers_per_block": 3},
    "a single level": {
        "down_block_types": ("CrossAttnDownBlock2D",),
        "up_block_types": ("CrossAttnUpBlock2D",),
        "block_out_channels": (32,),
        "cross_attention_dim": 32,
    },
}


def unet_tensors(config: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return dict(UNet2DConditionModel(**config).state_dict())


def vae_tensors(levels: int, layers: int) -> tuple[dict[str, torch.Tensor], Mapping[str, Any]]:
    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=(32, 64, 64, 128)[:levels],
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            layers_per_block=layers,
        )
    return dict(vae.state_dict()), dict(vae.config)


def open_clip_names(layers: int = 3) -> dict[str, torch.Tensor]:
    config = CLIPTextConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=layers, num_attention_heads=2,
        projection_dim=32, vocab_size=100,
    )  # fmt: skip
    with torch.device("meta"):
        tensors = CLIPTextModelWithProjection(config).state_dict()
    return {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("size", UNETS)
def test_diffusers_converter_reads_our_unet_names_as_the_same_tensors(size: str) -> None:
    tensors = unet_tensors(UNETS[size])
    ldm = {
        f"model.diffusion_model.{theirs}": tensors[ours]
        for ours, theirs in unet_to_compvis(tensors).items()
    }
    config = {"layers_per_block": 2, **UNETS[size]}
    converted = oracle.convert_ldm_unet_checkpoint(ldm, config)
    assert converted.keys() == tensors.keys()
    assert all(converted[name] is tensor for name, tensor in tensors.items())


@pytest.mark.parametrize(("levels", "layers"), [(4, 2), (4, 1), (3, 2), (1, 1)])
def test_diffusers_converter_reads_our_vae_names_as_the_same_tensors(
    levels: int, layers: int
) -> None:
    tensors, config = vae_tensors(levels, layers)
    names = to_compvis("vae", tensors)
    ldm = {f"first_stage_model.{its.name}": tensors[ours] for ours, its in names.items()}
    converted = oracle.convert_ldm_vae_checkpoint(ldm, config)
    assert converted.keys() == tensors.keys()
    assert all(converted[name] is tensor for name, tensor in tensors.items())


# Names in the published checkpoints of each family, and what diffusers calls them there.
PUBLISHED = [
    ("sd1", "output_blocks.11.0.skip_connection.bias", "up_blocks.3.resnets.2.conv_shortcut.bias"),
    ("sd1", "output_blocks.2.1.conv.bias", "up_blocks.0.upsamplers.0.conv.bias"),
    ("sd1", "output_blocks.5.2.conv.bias", "up_blocks.1.upsamplers.0.conv.bias"),
    ("sd1", "input_blocks.9.0.op.weight", "down_blocks.2.downsamplers.0.conv.weight"),
    ("sd1", "input_blocks.11.0.emb_layers.1.bias", "down_blocks.3.resnets.1.time_emb_proj.bias"),
    ("sdxl", "label_emb.0.2.weight", "add_embedding.linear_2.weight"),
    ("sdxl", "output_blocks.2.2.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"),
    (
        "sdxl",
        "input_blocks.8.1.transformer_blocks.9.attn2.to_k.weight",
        "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_k.weight",
    ),
]


@pytest.mark.parametrize(("size", "ldm", "diffusers"), PUBLISHED)
def test_published_names_are_found(size: str, ldm: str, diffusers: str) -> None:
    assert unet_to_compvis(unet_tensors(UNETS[size]))[diffusers] == ldm


def test_the_vae_decoder_counts_its_levels_from_the_other_end() -> None:
    names = to_compvis("vae", vae_tensors(4, 2)[0])
    up, down = "decoder.up_blocks.0.resnets.2", "encoder.down_blocks.0.resnets.1"
    assert names[f"{up}.conv1.bias"].name == "decoder.up.3.block.2.conv1.bias"
    assert names[f"{down}.norm1.bias"].name == "encoder.down.0.block.1.norm1.bias"


def test_queries_keys_and_values_share_one_tensor_in_open_clip() -> None:
    found = places(family_named("sdxl"), "text_encoder_2", open_clip_names())
    layer = "conditioner.embedders.1.model.transformer.resblocks.2.attn.in_proj_weight"
    mine = {name: place.transform for name, place in found.items() if place.name == layer}
    assert mine == {
        "encoder.layers.2.self_attn.q_proj.weight": "q",
        "encoder.layers.2.self_attn.k_proj.weight": "k",
        "encoder.layers.2.self_attn.v_proj.weight": "v",
    }
    assert found["text_projection.weight"].transform == "transposed"


def test_the_selected_names_of_a_delta_find_their_places() -> None:
    whole = unet_to_compvis(unet_tensors(_SD))
    selected = [name for name in whole if "attn2" in name]
    assert unet_to_compvis(selected) == {name: whole[name] for name in selected}


@pytest.mark.parametrize("name", ["down_blocks.0.motion_modules.0.proj_in.weight", "x", ""])
def test_a_name_without_a_place_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="CompVis layout"):
        unet_to_compvis([*unet_tensors(_SD), name])
