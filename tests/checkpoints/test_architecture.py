"""What a model's configs, shapes and config files say of its architecture."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel

from esdctl.checkpoints.layouts.architecture import (
    FORMAT,
    Architecture,
    architecture_from_document,
    architecture_of_folder,
)
from esdctl.checkpoints.layouts.compvis_architecture import architecture_of_compvis
from esdctl.checkpoints.layouts.ldm_yaml import ldm_yaml
from esdctl.checkpoints.tensor_info import TensorInfo
from esdctl.errors import InputError, UsageError
from esdctl.models.named import POCKET
from tests.checkpoints.tiny_models import FAMILIES, Family, compvis_infos, tiny_folder

Infos = Mapping[str, TensorInfo]
FILE = Path("model.ckpt")
# What decides the shapes and the mathematics of a part; the rest of a config.json is decoration.
DECISIVE = {
    "unet": (
        "in_channels", "out_channels", "block_out_channels", "layers_per_block",
        "down_block_types", "up_block_types", "cross_attention_dim", "attention_head_dim",
        "use_linear_projection", "transformer_layers_per_block", "addition_embed_type",
        "addition_time_embed_dim", "projection_class_embeddings_input_dim", "norm_num_groups",
    ),
    "vae": (
        "in_channels", "out_channels", "latent_channels", "block_out_channels",
        "down_block_types", "layers_per_block", "scaling_factor", "norm_num_groups",
    ),
    "text_encoder": (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "hidden_act", "vocab_size", "max_position_embeddings", "eos_token_id", "projection_dim",
    ),
}  # fmt: skip
DECISIVE["text_encoder_2"] = DECISIVE["text_encoder"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Path]:
    root = tmp_path_factory.mktemp("models")
    return {family: tiny_folder(family, root / family) for family in FAMILIES}


@pytest.fixture(scope="module")
def checkpoints(folders: dict[Family, Path]) -> dict[Family, Infos]:
    return {f: compvis_infos(architecture_of_folder(folder)) for f, folder in folders.items()}


def decisive(architecture: Architecture) -> dict[str, dict[str, Any]]:
    """What decides of each part's config, defaults filled in by diffusers."""
    found: dict[str, dict[str, Any]] = {}
    for part, config in architecture.configs.items():
        with torch.device("meta"):
            if part == "unet":
                config = UNet2DConditionModel.from_config(config).config
            if part == "vae":
                config = AutoencoderKL.from_config(config).config
        listed = json.loads(json.dumps({key: config.get(key) for key in DECISIVE[part]}))
        depth = listed.get("transformer_layers_per_block")
        if isinstance(depth, list) and len(set(depth)) == 1:
            listed["transformer_layers_per_block"] = depth[0]
        found[part] = listed
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_the_shapes_tell_what_the_configs_say(
    family: Family, folders: dict[Family, Path], checkpoints: dict[Family, Infos]
) -> None:
    stated = architecture_of_folder(folders[family])
    told = architecture_of_compvis(
        checkpoints[family], {}, FILE, prediction_type=stated.prediction_type
    )
    assert told.family.name == stated.family.name == family.removesuffix("-v")
    assert told.prediction_type == stated.prediction_type
    assert decisive(told) == decisive(stated)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_architecture_survives_json_yaml_and_metadata(
    family: Family, folders: dict[Family, Path], checkpoints: dict[Family, Infos], tmp_path: Path
) -> None:
    stated = architecture_of_folder(folders[family])
    document = json.loads(json.dumps(stated.document()))
    assert architecture_from_document(document, FILE) == stated
    metadata = {"esdctl": json.dumps({"format": FORMAT, "architecture": document})}
    assert architecture_of_compvis(checkpoints[family], metadata, FILE) == stated
    config = ldm_yaml(stated)
    assert (config is None) == (family == "sdxl")
    if config is not None:
        (tmp_path / "model.yaml").write_text(config)
        assert architecture_of_compvis(checkpoints[family], {}, tmp_path / "model.ckpt") == stated


@pytest.mark.parametrize("family", ["sd1", "sd2", "sd2-v"])
def test_the_plain_part_of_our_config_file_tells_other_tools_the_same(
    family: Family, folders: dict[Family, Path], checkpoints: dict[Family, Infos], tmp_path: Path
) -> None:
    stated = architecture_of_folder(folders[family])
    document = yaml.safe_load(ldm_yaml(stated))
    del document["esdctl"]
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(document))
    told = architecture_of_compvis(checkpoints[family], {}, FILE, tmp_path / "plain.yaml")
    assert told.prediction_type == stated.prediction_type
    assert decisive(told) == decisive(stated)


def test_pocket_is_told_by_its_config_file(tmp_path: Path) -> None:
    stated = architecture_of_folder(POCKET)
    (tmp_path / "pocket.yaml").write_text(ldm_yaml(stated))
    told = architecture_of_compvis(compvis_infos(stated), {}, tmp_path / "pocket.ckpt")
    assert told == stated
    assert told.denoiser["attention_head_dim"] == 2


def written(path: Path, **params: object) -> Path:
    """An LDM config file with a U-Net that says nothing, and these parameters beside it."""
    content = {"model": {"params": {"unet_config": {"params": {"in_channels": 4}}, **params}}}
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [({"global_step": "875000"}, "epsilon"), ({"global_step": "220000"}, "epsilon"),
     ({"global_step": "110000"}, "v_prediction"), ({}, "v_prediction")],
)  # fmt: skip
def test_the_number_of_steps_tells_what_an_sd_2_predicts(
    metadata: dict[str, str], expected: str, checkpoints: dict[Family, Infos]
) -> None:
    told = architecture_of_compvis(checkpoints["sd2"], metadata, FILE)
    assert told.prediction_type == told.scheduler["prediction_type"] == expected
    assert bool(told.notes) == (expected == "v_prediction")


def test_option_config_file_and_steps_decide_in_this_order(
    checkpoints: dict[Family, Infos], tmp_path: Path
) -> None:
    eps = written(tmp_path / "eps.yaml", parameterization="eps")
    v = written(tmp_path / "v.yaml", parameterization="v")

    def told(*arguments: Any) -> str:
        steps = {"global_step": "875000"}
        return architecture_of_compvis(checkpoints["sd2"], steps, FILE, *arguments).prediction_type

    assert told() == "epsilon"
    assert told(v) == "v_prediction"
    assert told(eps, "v_prediction") == "v_prediction"


def test_a_config_file_gives_heads_scale_and_betas(
    checkpoints: dict[Family, Infos], tmp_path: Path
) -> None:
    path = written(tmp_path / "c.yaml", linear_start=0.001, linear_end=0.02, scale_factor=0.3)
    content = yaml.safe_load(path.read_text())
    content["model"]["params"]["unet_config"]["params"]["num_heads"] = 4
    path.write_text(yaml.safe_dump(content))
    told = architecture_of_compvis(checkpoints["sd1"], {}, FILE, path)
    assert told.denoiser["attention_head_dim"] == 4
    assert told.vae["scaling_factor"] == 0.3
    assert (told.scheduler["beta_start"], told.scheduler["beta_end"]) == (0.001, 0.02)


def test_the_config_file_of_another_model_is_refused(
    folders: dict[Family, Path], checkpoints: dict[Family, Infos], tmp_path: Path
) -> None:
    document = yaml.safe_load(ldm_yaml(architecture_of_folder(folders["sd2"])))
    del document["esdctl"]
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(InputError, match=r"c\.yaml and model\.ckpt disagree: cross_attention_dim"):
        architecture_of_compvis(checkpoints["sd1"], {}, FILE, tmp_path / "c.yaml")


@pytest.mark.parametrize(
    "content", ["", "[1, 2]", "model: {params: 3}", "a: [", "!!python/object/apply:os.system [ls]"]
)
def test_what_is_no_config_file_is_refused(
    content: str, checkpoints: dict[Family, Infos], tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(InputError, match=r"c\.yaml"):
        architecture_of_compvis(checkpoints["sd1"], {}, FILE, tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("dropped", "reason"),
    [("model.diffusion_model.", "no U-Net"), ("first_stage_model.", "no VAE"),
     ("cond_stage_model.", "no text encoder"), ("model.diffusion_model.out.2", "lacks")],
)  # fmt: skip
def test_a_checkpoint_without_a_part_is_refused(
    dropped: str, reason: str, checkpoints: dict[Family, Infos]
) -> None:
    infos = {k: v for k, v in checkpoints["sd1"].items() if not k.startswith(dropped)}
    with pytest.raises(InputError, match=reason):
        architecture_of_compvis(infos, {}, FILE)


def test_an_inpainting_model_is_refused(checkpoints: dict[Family, Infos]) -> None:
    first = {"model.diffusion_model.input_blocks.0.0.weight": TensorInfo("F32", (32, 9, 3, 3))}
    with pytest.raises(InputError, match="inpainting"):
        architecture_of_compvis({**checkpoints["sd1"], **first}, {}, FILE)


def test_an_unknown_prediction_type_is_a_usage_error(checkpoints: dict[Family, Infos]) -> None:
    with pytest.raises(UsageError, match="x0"):
        architecture_of_compvis(checkpoints["sd1"], {}, FILE, prediction_type="x0")


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "esdctl-checkpoint-1"}'])
def test_damaged_metadata_is_refused_or_passed_over(
    text: str, checkpoints: dict[Family, Infos]
) -> None:
    if text == "[]":  # another program's
        assert (
            architecture_of_compvis(checkpoints["sd1"], {"esdctl": text}, FILE).family.name == "sd1"
        )
        return
    with pytest.raises(InputError, match="esdctl"):
        architecture_of_compvis(checkpoints["sd1"], {"esdctl": text}, FILE)


FULL_SIZE: dict[Family, dict[str, Any]] = {
    "sd1": {
        "block_out_channels": [320, 640, 1280, 1280], "attention_head_dim": 8,
        "cross_attention_dim": 768,
    },
    "sd2-v": {
        "block_out_channels": [320, 640, 1280, 1280], "attention_head_dim": [5, 10, 20, 20],
        "cross_attention_dim": 1024,
    },
    "sdxl": {
        "block_out_channels": [320, 640, 1280], "attention_head_dim": [5, 10, 20],
        "cross_attention_dim": 2048, "transformer_layers_per_block": [1, 2, 10],
        "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
    },
}  # fmt: skip
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
          "num_attention_heads": 12, "projection_dim": 768}  # fmt: skip
CLIP_H = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23,
          "num_attention_heads": 16, "projection_dim": 1024}  # fmt: skip
CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32,
          "num_attention_heads": 20, "projection_dim": 1280}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "side", "texts"),
    [("sd1", 64, [CLIP_L]), ("sd2-v", 96, [CLIP_H]), ("sdxl", 128, [CLIP_L, CLIP_G])],
)
def test_full_sizes_are_those_of_the_published_configs(
    family: Family, side: int, texts: list[dict[str, int]], folders: dict[Family, Path]
) -> None:
    tiny = architecture_of_folder(folders[family])
    stated = replace(
        tiny,
        configs={
            "unet": {**tiny.denoiser, **FULL_SIZE[family], "sample_size": side},
            "vae": {
                **tiny.vae,
                "block_out_channels": [128, 256, 512, 512],
                "sample_size": side * 8,
            },
            **{
                encoder.part: {**tiny.config(encoder.part), **text}
                for encoder, text in zip(tiny.encoders, texts, strict=True)
            },
        },
    )
    told = architecture_of_compvis(compvis_infos(stated), {}, FILE)
    assert decisive(told) == decisive(stated)
    assert told.prediction_type == stated.prediction_type
    assert told.denoiser["sample_size"] == side
    assert told.vae["sample_size"] == side * 8


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [("unet", "layers_per_block", 10**9), ("unet", "block_out_channels", [32] * 1000),
     ("unet", "in_channels", "four"), ("vae", "layers_per_block", 1.5),
     ("text_encoder", "num_hidden_layers", 10**6), ("vae", "block_out_channels", 3),
     ("unet", "cross_attention_dim", -1), ("unet", "down_block_types", "CrossAttn"),
     ("unet", "transformer_layers_per_block", [1, 10**6])],
)  # fmt: skip
def test_a_config_of_senseless_sizes_is_refused(
    part: str, key: str, value: object, tmp_path: Path
) -> None:
    folder = tiny_folder("sd1", tmp_path / "m")
    path = folder / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(InputError, match=f"the {part} has a senseless {key}"):
        architecture_of_folder(folder)


def test_a_name_that_counts_to_a_billion_is_refused(checkpoints: dict[Family, Infos]) -> None:
    prefix = "cond_stage_model.transformer.text_model.encoder.layers"
    infos = {**checkpoints["sd1"], f"{prefix}.999999999.x": TensorInfo("F32", (1,))}
    with pytest.raises(InputError, match="num_hidden_layers"):
        architecture_of_compvis(infos, {}, FILE)
