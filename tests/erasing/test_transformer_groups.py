"""The parameters that each train method selects in transformers of the published depth."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import diffusers
import pytest
import torch

from esdctl.erasing.train_methods import methods_of, select
from esdctl.models.families.registry import family_named

# As their config.json on the Hugging Face hub.
CONFIGS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "sd35-medium": (
        "sd3", "SD3Transformer2DModel",
        {"num_layers": 24, "num_attention_heads": 24, "attention_head_dim": 64,
         "joint_attention_dim": 4096, "caption_projection_dim": 1536,
         "pooled_projection_dim": 2048, "pos_embed_max_size": 384, "in_channels": 16,
         "out_channels": 16, "dual_attention_layers": tuple(range(13)), "qk_norm": "rms_norm"},
    ),
    "sd35-large": (
        "sd3", "SD3Transformer2DModel",
        {"num_layers": 38, "num_attention_heads": 38, "attention_head_dim": 64,
         "joint_attention_dim": 4096, "caption_projection_dim": 2432,
         "pooled_projection_dim": 2048, "pos_embed_max_size": 192, "in_channels": 16,
         "out_channels": 16, "qk_norm": "rms_norm"},
    ),
    "flux1-dev": ("flux", "FluxTransformer2DModel", {"guidance_embeds": True}),
    "flux2-klein-4b": (
        "flux2", "Flux2Transformer2DModel",
        {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24,
         "joint_attention_dim": 7680, "guidance_embeds": False},
    ),
}  # fmt: skip
# model -> method -> tensors, parameters
COUNTS: Mapping[str, Mapping[str, tuple[int, int]]] = {
    "sd35-medium": {
        "text-kv": (96, 113_319_936),
        "text-attn": (190, 224_279_040),  # the last block takes nothing of the text from it
        "picture-attn": (192, 226_639_872),
        "joint-attn": (382, 450_918_912),
        "text-stream": (332, 995_375_616),
        "noattn": (284, 1_650_004_992),
        "esd-x": (382, 450_918_912),
        "esd-x-strict": (96, 113_319_936),
        "full": (908, 2_243_171_520),
    },
    "sd35-large": {
        "text-kv": (152, 449_696_256),
        "text-attn": (302, 893_475_456),
        "picture-attn": (304, 899_392_512),
        "joint-attn": (606, 1_792_867_968),
        "text-stream": (528, 3_980_038_528),
        "noattn": (452, 6_224_195_712),
        "esd-x": (606, 1_792_867_968),
        "esd-x-strict": (152, 449_696_256),
        "full": (1226, 8_056_627_520),
    },
    "flux1-dev": {
        "text-kv": (76, 358_729_728),
        "text-attn": (152, 717_459_456),
        "picture-attn": (152, 717_459_456),
        "joint-attn": (532, 2_511_108_096),
        "text-stream": (268, 3_240_978_432),
        "noattn": (456, 9_326_155_776),
        "esd-x": (532, 2_511_108_096),
        "esd-x-strict": (228, 1_076_189_184),
        "full": (1160, 11_901_408_320),
        "single-blocks": (532, 5_380_488_704),
    },
    "flux2-klein-4b": {
        "text-kv": (10, 94_371_840),
        "text-attn": (20, 188_743_680),
        "picture-attn": (20, 188_743_680),
        "joint-attn": (40, 377_487_360),
        "text-stream": (32, 693_633_024),
        "noattn": (20, 849_346_560),
        "esd-x": (40, 377_487_360),
        "esd-x-strict": (20, 188_743_680),
        "full": (169, 3_875_544_576),
        "single-blocks": (80, 2_453_672_960),
    },
}


@cache
def network(model: str) -> torch.nn.Module:
    _, kind, config = CONFIGS[model]
    with torch.device("meta"):
        made: torch.nn.Module = getattr(diffusers, kind)(**config)
    return made


@pytest.mark.parametrize("model", CONFIGS)
def test_each_method_selects_the_tables_counts(model: str) -> None:
    sizes = {name: each.numel() for name, each in network(model).named_parameters()}
    family = family_named(CONFIGS[model][0])
    found = {}
    for method in methods_of(family):
        selected = select(method, sizes, family)
        found[method] = len(selected), sum(sizes[name] for name in selected)
    assert found == COUNTS[model]


def linear_modules(model: str) -> list[str]:
    modules = network(model).named_modules()
    return [name for name, module in modules if isinstance(module, torch.nn.Linear)]


def parameters_of(model: str, modules: list[str]) -> set[str]:
    names = (name for name, _ in network(model).named_parameters())
    return {name for name in names if name.rpartition(".")[0] in modules}


def selected(method: str, model: str) -> set[str]:
    names = [name for name, _ in network(model).named_parameters()]
    return set(select(method, names, family_named(CONFIGS[model][0])))


def test_the_authors_methods_of_flux_1_move_what_their_code_moves() -> None:
    linear = [name for name in linear_modules("flux1-dev") if "attn" in name]
    assert selected("esd-x", "flux1-dev") == parameters_of("flux1-dev", linear)
    strict = [name for name in linear if "to_k" in name or "to_v" in name]
    assert selected("esd-x-strict", "flux1-dev") == parameters_of("flux1-dev", strict)


def test_the_authors_methods_of_flux_2_move_what_their_code_moves() -> None:
    ends = (
        "to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
    )  # fmt: skip
    modules = [name for name in linear_modules("flux2-klein-4b") if name.endswith(ends)]
    assert selected("esd-x", "flux2-klein-4b") == parameters_of("flux2-klein-4b", modules)
    strict = [name for name in modules if name.endswith((*ends[1:3], *ends[5:7]))]
    assert selected("esd-x-strict", "flux2-klein-4b") == parameters_of("flux2-klein-4b", strict)


def test_the_second_attention_of_sd_35_medium_stays() -> None:
    for method in ("esd-x", "joint-attn", "text-stream", "picture-attn"):
        assert not [name for name in selected(method, "sd35-medium") if ".attn2." in name]
