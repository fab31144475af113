"""Exports as other programs take them: their names, their default arguments, their strictness."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import StableDiffusionPipeline, UNet2DConditionModel

from esdctl.cli.app import run
from tests.checkpoints.tiny_models import tiny_compvis, tiny_folder
from tests.models.exports import distance, erase, export, output_of, own_output

# What each class of LDM takes: the parameters of its constructor, in CompVis' code.
UNET = {
    "image_size", "in_channels", "model_channels", "out_channels", "num_res_blocks",
    "attention_resolutions", "dropout", "channel_mult", "conv_resample", "dims", "num_classes",
    "use_checkpoint", "use_fp16", "num_heads", "num_head_channels", "num_heads_upsample",
    "use_scale_shift_norm", "resblock_updown", "use_new_attention_order",
    "use_spatial_transformer", "transformer_depth", "context_dim", "n_embed", "legacy",
}  # fmt: skip
UNET_REQUIRED = {"image_size", "in_channels", "model_channels", "out_channels",
                 "num_res_blocks", "attention_resolutions"}  # fmt: skip
LATENT_DIFFUSION = {
    "first_stage_config", "cond_stage_config", "num_timesteps_cond", "cond_stage_key",
    "cond_stage_trainable", "concat_mode", "cond_stage_forward", "conditioning_key",
    "scale_factor", "scale_by_std", "unet_config", "timesteps", "beta_schedule", "loss_type",
    "ckpt_path", "ignore_keys", "load_only_unet", "monitor", "use_ema", "first_stage_key",
    "image_size", "channels", "log_every_t", "clip_denoised", "linear_start", "linear_end",
    "cosine_s", "given_betas", "original_elbo_weight", "v_posterior", "l_simple_weight",
    "parameterization", "scheduler_config", "use_positional_encodings", "learn_logvar",
    "logvar_init",
}  # fmt: skip
AUTOENCODER = {"ddconfig", "lossconfig", "embed_dim", "ckpt_path", "ignore_keys", "image_key",
               "colorize_nlabels", "monitor"}  # fmt: skip


@pytest.fixture(scope="module")
def deltas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An erasure of each family, on a CompVis base (SD 1.x with EMA's global_step)."""
    folder = tmp_path_factory.mktemp("readers")
    bases = {
        "sd1": tiny_compvis("sd1", folder / "sd1.ckpt", "state_dict"),
        "sd2": tiny_folder("sd2", folder / "sd2"),
        "sdxl": tiny_folder("sdxl", folder / "sdxl"),
    }
    return {
        family: erase(str(base), folder / f"{family}-delta.safetensors", "full")
        for family, base in bases.items()
    }


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_instantiate_from_config_builds_the_model_of_the_yaml(
    family: str, deltas: dict[str, Path], tmp_path: Path
) -> None:
    export(deltas[family], "compvis", tmp_path / "m.ckpt")
    model = yaml.safe_load((tmp_path / "m.yaml").read_text())["model"]
    params = model["params"]
    assert set(params) <= LATENT_DIFFUSION
    assert params["conditioning_key"] == "crossattn"  # else the text is concatenated
    assert params["use_ema"] is False  # else weights that are not in the file are swapped in
    assert params["channels"] == 4
    assert params["image_size"] > 0
    unet = params["unet_config"]["params"]
    linear = {"use_linear_in_transformer"} if family == "sd2" else set()
    assert UNET_REQUIRED <= set(unet) <= UNET | linear
    assert linear <= set(unet)
    assert unet["legacy"] is False
    first_stage = params["first_stage_config"]["params"]
    assert {"ddconfig", "lossconfig", "embed_dim"} <= set(first_stage) <= AUTOENCODER
    assert first_stage["lossconfig"] == {"target": "torch.nn.Identity"}
    assert "target" in params["cond_stage_config"]


def test_sdxl_has_no_config_file_and_is_read_back_without_one(
    deltas: dict[str, Path], tmp_path: Path
) -> None:
    for suffix in (".ckpt", ".safetensors"):
        path = export(deltas["sdxl"], "compvis", tmp_path / f"m{suffix}")
        assert not path.with_suffix(".yaml").exists()
        assert distance(own_output(path), own_output(deltas["sdxl"])) < 1e-5


@pytest.mark.parametrize(("family", "step"), [("sd1", 7), ("sd2", 0)])
def test_a_pickle_has_a_global_step_and_says_what_was_erased(
    family: str,
    step: int,
    deltas: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = export(deltas[family], "compvis", tmp_path / "m.ckpt")
    assert torch.load(path, weights_only=True)["global_step"] == step
    capsys.readouterr()
    assert run(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["about"]["concept"] == "Rust"


def test_a_16_bit_folder_runs_in_a_pipeline_with_its_default_arguments(
    deltas: dict[str, Path], tmp_path: Path
) -> None:
    folder = export(deltas["sd1"], "diffusers", tmp_path / "folder", "--dtype", "fp16")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline: Any = StableDiffusionPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        made = pipeline("a dog", num_inference_steps=1, height=64, width=64, output_type="np")
    assert made.images.shape == (1, 64, 64, 3)


def test_a_folder_of_mixed_parts_is_of_one_type(tmp_path: Path) -> None:
    base = tiny_folder("sd1", tmp_path / "base", dtype=torch.float16)
    vae = StableDiffusionPipeline.from_pretrained(base).vae.to(torch.float32)
    vae.save_pretrained(base / "vae")
    folder = export(base, "diffusers", tmp_path / "folder")
    from safetensors.torch import load_file

    dtypes = {t.dtype for file in folder.rglob("*.safetensors") for t in load_file(file).values()}
    assert dtypes == {torch.float32}


def test_a_whole_unet_loads_strictly(deltas: dict[str, Path], tmp_path: Path) -> None:
    path = export(deltas["sd2"], "unet", tmp_path / "unet.pt")
    unet = UNet2DConditionModel.from_pretrained(deltas["sd2"].parent / "sd2" / "unet")
    unet.load_state_dict(torch.load(path, weights_only=True))
    assert distance(output_of(unet), own_output(deltas["sd2"])) < 1e-5


def test_what_kohyas_loader_drops_is_told(
    deltas: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(deltas["sd1"], "lora", tmp_path / "lora.safetensors", "--rank", "1")
    assert "kohya's loader drops" in capsys.readouterr().err


def test_the_embedded_models_checkpoint_says_that_ldm_cannot_build_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export("pocket", "compvis", tmp_path / "pocket.safetensors")
    assert "original LDM code cannot build" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["m.safetensors", "m.ckpt", "m"])
def test_a_pickled_unet_is_called_pt_or_pth(
    name: str, deltas: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", str(deltas["sd1"]), "--to", "unet", "-o", str(tmp_path / name)]) == 2
    assert "end it in .pt or .pth" in capsys.readouterr().err
