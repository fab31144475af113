"""``export --to kohya`` of erased transformers: what others and we ourselves read of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoModel, DiffusionPipeline
from safetensors.torch import load_file, save_file

from esdctl.cli.app import run
from tests.checkpoints.tiny_flow_models import tiny_sd3
from tests.checkpoints.tiny_flux2_models import tiny_flux2
from tests.checkpoints.tiny_flux_models import tiny_flux
from tests.models.test_flow_exports import (
    CLOSE,
    applied,
    distance,
    export,
    flux_prediction,
    own,
)
from tests.verification.conftest import rewrite

Captured = pytest.CaptureFixture[str]


def erase(base: Path, method: str) -> Path:
    """One step of a run that is sealed, from the base beside it."""
    output = base.parent / "run"
    line = ["train", "--model", str(base), "--concept", "Rust", "--train-method", method]
    line += ["--lr", "0.05", "--iterations", "1", "--ddim-steps", "2", "--batch-size", "1"]
    line += ["--output", str(output), "--no-contact-sheet", "--devices", "cpu"]
    assert run([*line, "--root", str(base.parent)]) == 0
    return output


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Erased in its blocks of two streams: of others, diffusers knows the published width alone."""
    return erase(tiny_flux(tmp_path_factory.mktemp("flux") / "base"), "text-attn")


@pytest.fixture(scope="module")
def flux2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return erase(tiny_flux2(tmp_path_factory.mktemp("flux2") / "base"), "esd-x")


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return erase(tiny_sd3(tmp_path_factory.mktemp("sd3") / "base", has_t5=False), "text-kv")


@pytest.mark.parametrize("run_of", ["flux", "flux2"])
def test_diffusers_loads_it_as_the_folder_of_the_same_change(
    run_of: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    erased: Path = request.getfixturevalue(run_of)
    base = erased.parent / "base"
    lora = export(erased, "kohya", tmp_path / "l.safetensors", "--energy", "1")
    pipe = DiffusionPipeline.from_pretrained(base)
    plain = flux_prediction(pipe.transformer)
    pipe.load_lora_weights(str(lora))
    folder = applied(lora, base, "diffusers", tmp_path / "m")
    ours = flux_prediction(AutoModel.from_pretrained(str(folder / "transformer")))
    assert distance(flux_prediction(pipe.transformer), ours) < CLOSE
    assert distance(ours, plain) > 100 * CLOSE


def test_queries_keys_and_values_of_flux_1_are_one_matrix(flux: Path, tmp_path: Path) -> None:
    lora = export(flux, "kohya", tmp_path / "l.safetensors")
    assert {name.partition(".")[0] for name in load_file(lora)} == {
        f"lora_unet_double_blocks_{block}_txt_attn_{layer}"
        for block in range(2)
        for layer in ("qkv", "proj")
    }


@pytest.mark.parametrize("run_of", ["flux", "flux2", "sd3"])
def test_both_forms_of_a_lora_change_the_same_weights_alike(
    run_of: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    erased: Path = request.getfixturevalue(run_of)
    base = erased.parent / "base"
    deltas = []
    for form in ("lora", "kohya"):
        lora = export(erased, form, tmp_path / f"{form}.safetensors", "--energy", "1")
        deltas.append(load_file(applied(lora, base, "delta", tmp_path / f"{form}-d.safetensors")))
    diffusers, kohya = deltas
    assert kohya.keys() == diffusers.keys()
    assert all(distance(kohya[name], diffusers[name]) < CLOSE for name in kohya)


def test_a_model_of_sd3_is_what_its_lora_makes_of_its_base(sd3: Path, tmp_path: Path) -> None:
    base = sd3.parent / "base"
    lora = export(sd3, "kohya", tmp_path / "l.safetensors", "--energy", "1")
    delta = load_file(sd3 / "delta.safetensors")
    whole = load_file(base / "transformer/diffusion_pytorch_model.safetensors")
    biases = {name: whole[name] for name in delta if name.endswith(".bias")}
    save_file({**delta, **biases}, tmp_path / "esd-Rust-from-Rust-text-kv.safetensors")
    wanted = applied(
        tmp_path / "esd-Rust-from-Rust-text-kv.safetensors", base, "diffusers", tmp_path / "wanted"
    )
    made = applied(lora, base, "diffusers", tmp_path / "made")
    assert distance(own(made, base), own(wanted, base)) < CLOSE
    assert distance(own(made, base), own(base, base)) > 100 * CLOSE


def test_a_thin_one_is_as_near_to_its_run_as_its_rank_allows(
    sd3: Path, tmp_path: Path, capsys: Captured
) -> None:
    root = str(sd3.parent)
    lora = export(sd3, "kohya", tmp_path / "l.safetensors", "--rank", "3")
    told = capsys.readouterr().err
    assert "matrices of rank 3 to 3" in told
    assert "of this form diffusers reads nothing; give it --to lora" in told
    assert run(["verify", str(lora), "--run", str(sd3), "--root", root]) == 0
    up = min(name for name in load_file(lora) if name.endswith("lora_up.weight"))
    rewrite(lora, {up: load_file(lora)[up] * 0.8})
    assert run(["verify", str(lora), "--run", str(sd3), "--root", root]) == 1
    assert "1 tensor further away than by rank" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (tiny_flux, "diffusers drops them, and kohya's tools those of the final layer"),
        (tiny_flux2, "kohya's tools drop them, and diffusers the modulations"),
    ],
)
def test_what_loaders_pass_over_is_told(
    make: Callable[[Path], Path], told: str, tmp_path: Path, capsys: Captured
) -> None:
    base = make(tmp_path / "base")
    whole = load_file(base / "transformer/diffusion_pytorch_model.safetensors")
    moved = {name: whole[name] + 1 for name in ("proj_out.weight", "x_embedder.weight")}
    path = tmp_path / "esd-Rust-from-Rust-full.safetensors"
    save_file(moved, path)
    made = tmp_path / "l.safetensors"
    line = ["apply", str(path), "--base", str(base), "--to", "kohya", "-o", str(made)]
    assert run([*line, "--rank", "1"]) == 0
    said = capsys.readouterr().err
    assert "2 of these matrices lie outside the blocks, 100% of the change; of this form" in said
    assert told in said
    assert torch.equal(load_file(made)["lora_unet_img_in.alpha"], torch.tensor(1.0))
