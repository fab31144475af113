"""What is exported of an erased transformer loads elsewhere, and reads back as it was."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusion3Pipeline
from safetensors import safe_open
from safetensors.torch import load_file

from esdctl.cli.app import run
from esdctl.models.named import DELTA_NAME
from esdctl.models.resolve import resolve_model
from esdctl.models.stable_diffusion import load
from esdctl.storage.workspace import Workspace
from tests.checkpoints.tiny_flow_models import tiny_sd3
from tests.checkpoints.tiny_flux2_models import tiny_flux2
from tests.checkpoints.tiny_flux_models import tiny_flux

CLOSE = 1e-5
WITHOUT_T5 = {"text_encoder_3": None, "tokenizer_3": None}
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd3(tmp_path_factory.mktemp("base") / "sd3", has_t5=False)


@pytest.fixture(scope="module")
def erased(base: Path) -> Path:
    output = base.parent / "run"
    line = ["train", "--model", str(base), "--concept", "Rust", "--output", str(output)]
    line += ["--lr", "0.05", "--iterations", "2", "--ddim-steps", "2", "--batch-size", "1"]
    assert run([*line, "--no-contact-sheet", "--devices", "cpu", "--root", str(base.parent)]) == 0
    return output


def prediction(transformer: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        made: torch.Tensor = transformer(
            hidden_states=torch.randn(2, 16, 8, 8, generator=generator),
            encoder_hidden_states=torch.randn(2, 20, 64, generator=generator),
            pooled_projections=torch.randn(2, 64, generator=generator),
            timestep=torch.tensor([7.0, 801.0]),
            return_dict=False,
        )[0]
    return made


def own(model: Path | str, base: Path) -> torch.Tensor:
    found = resolve_model(str(model), Workspace(base.parent))
    return prediction(load(found, torch.device("cpu")).denoiser)


def distance(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one - two).abs().max())


def export(model: Path, form: str, output: Path, *more: str) -> Path:
    assert run(["export", str(model), "--to", form, "--output", str(output), *more]) == 0
    return output


def applied(change: Path, base: Path, form: str, output: Path) -> Path:
    line = ["apply", str(change), "--base", str(base), "--to", form, "-o", str(output)]
    assert run(line) == 0
    return output


def pipeline(folder: Path) -> StableDiffusion3Pipeline:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return StableDiffusion3Pipeline.from_pretrained(folder, **WITHOUT_T5)


def test_a_folder_loads_in_diffusers(erased: Path, base: Path, tmp_path: Path) -> None:
    folder = export(erased, "diffusers", tmp_path / "m")
    found = prediction(pipeline(folder).transformer)
    assert distance(found, own(erased, base)) < CLOSE
    assert distance(found, own(base, base)) > 100 * CLOSE
    assert distance(own(folder, base), found) < CLOSE


def test_a_lora_of_full_rank_loads_in_diffusers_and_here(
    erased: Path, base: Path, tmp_path: Path
) -> None:
    lora = export(erased, "lora", tmp_path / "l.safetensors", "--energy", "1")
    assert all(name.startswith("transformer.transformer_blocks.") for name in load_file(lora))
    pipe = pipeline(base)
    pipe.load_lora_weights(str(lora))
    theirs = prediction(pipe.transformer)
    line = [
        "apply",
        str(lora),
        "--base",
        str(base),
        "--to",
        "delta",
        "-o",
        str(tmp_path / "d.safetensors"),
    ]
    assert run(line) == 0
    assert distance(theirs, own(tmp_path / "d.safetensors", base)) < CLOSE


def test_the_authors_form_says_what_it_is_and_is_read_again(
    erased: Path, base: Path, tmp_path: Path
) -> None:
    path = export(erased, "authors", tmp_path / "esd-Rust-from-Rust-text-kv.safetensors")
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    assert about == {
        "family": "sd3", "component": "transformer", "base_model_id": str(base),
        "train_method": "text-kv", "erase_concept": "Rust", "erase_from": "Rust",
    }  # fmt: skip
    folder = applied(path, base, "diffusers", tmp_path / "m")
    assert distance(own(folder, base), own(erased, base)) < CLOSE


def test_a_delta_is_verified_against_its_base(erased: Path, base: Path, capsys: Captured) -> None:
    assert run(["verify", str(erased), "--root", str(base.parent)]) == 0
    assert "some of text-kv's, no other" in capsys.readouterr().err


def test_a_form_that_the_family_has_not_is_refused(
    erased: Path, tmp_path: Path, capsys: Captured
) -> None:
    output = tmp_path / "m.pt"
    assert run(["export", str(erased), "--to", "unet", "--output", str(output)]) == 2
    assert "Stable Diffusion 3.x" in capsys.readouterr().err
    assert not output.exists()


def test_a_delta_of_another_base_is_refused(erased: Path, tmp_path: Path, capsys: Captured) -> None:
    other = tiny_sd3(tmp_path / "other", has_t5=False, seed=1)
    line = [
        "apply",
        str(erased),
        "--base",
        str(other),
        "--to",
        "diffusers",
        "-o",
        str(tmp_path / "m"),
    ]
    assert run(line) == 5
    assert "was made from" in capsys.readouterr().err


def test_a_folder_with_t5_is_written_whole(tmp_path: Path) -> None:
    folder = tiny_sd3(tmp_path / "base")
    written = export(folder, "diffusers", tmp_path / "m")
    before, after = (
        StableDiffusion3Pipeline.from_pretrained(each).encode_prompt(
            "a dog", None, None, do_classifier_free_guidance=False
        )[0]
        for each in (folder, written)
    )
    assert torch.equal(before, after)


def test_a_folder_and_a_run_are_inspected(erased: Path, base: Path, capsys: Captured) -> None:
    assert run(["inspect", str(base), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["family"], told["prediction_type"]) == ("sd3", "flow_prediction")
    assert set(told["parts"]) == {"transformer", "vae", "text_encoder", "text_encoder_2"}
    assert run(["inspect", str(erased), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tensors"] == len(load_file(erased / DELTA_NAME))


def test_the_difference_to_the_base_is_the_delta(
    erased: Path, base: Path, capsys: Captured
) -> None:
    line = ["diff", str(base), str(erased), "--json", "--root", str(base.parent)]
    assert run(line) in (0, 1)
    told = json.loads(capsys.readouterr().out)
    names = {f"transformer.{name}" for name in load_file(erased / DELTA_NAME)}
    assert {tensor["name"] for tensor in told["tensors"]} == names


@pytest.mark.parametrize("make", [tiny_flux, tiny_flux2])
def test_a_lora_of_flux_loads_in_diffusers(make: Callable[[Path], Path], tmp_path: Path) -> None:
    base, root = make(tmp_path / "base"), str(tmp_path)
    line = ["train", "--model", str(base), "--concept", "Rust", "--train-method", "joint-attn"]
    line += ["--lr", "0.05", "--iterations", "1", "--ddim-steps", "2", "--batch-size", "1"]
    line += ["--output", str(tmp_path / "run"), "--no-contact-sheet", "--devices", "cpu"]
    assert run([*line, "--root", root]) == 0
    lora = export(tmp_path / "run", "lora", tmp_path / "l.safetensors", "--energy", "1")
    assert load_file(lora)
    pipe = DiffusionPipeline.from_pretrained(base)
    pipe.load_lora_weights(str(lora))
    theirs, plain = (
        flux_prediction(each)
        for each in (pipe.transformer, DiffusionPipeline.from_pretrained(base).transformer)
    )
    applied_here = applied(lora, base, "delta", tmp_path / "d.safetensors")
    found = load(resolve_model(str(applied_here), Workspace(tmp_path)), torch.device("cpu"))
    assert distance(theirs, flux_prediction(found.denoiser)) < CLOSE
    assert distance(theirs, plain) > 100 * CLOSE


def flux_prediction(transformer: Any) -> torch.Tensor:
    generator, config = torch.Generator().manual_seed(0), transformer.config
    width = config.joint_attention_dim
    further = {}
    if "pooled_projection_dim" in config:
        further["pooled_projections"] = torch.ones(1, config.pooled_projection_dim)
        further["guidance"] = torch.tensor([3.5])
    axes = len(config.axes_dims_rope)
    with torch.inference_mode():
        made: torch.Tensor = transformer(
            hidden_states=torch.randn(1, 16, config.in_channels, generator=generator),
            encoder_hidden_states=torch.randn(1, 5, width, generator=generator),
            timestep=torch.tensor([0.5]),
            img_ids=torch.arange(16 * axes).view(16, axes) % 4,
            txt_ids=torch.zeros(5, axes),
            **further,
            return_dict=False,
        )[0]
    return made
