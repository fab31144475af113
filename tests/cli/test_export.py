"""``esdctl export``, ``diff`` and ``inspect``: one path or fact a line, JSON when asked."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from esdctl.cli.app import run
from tests.checkpoints.tiny_models import tiny_compvis, tiny_folder
from tests.models.exports import erase, export

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("sd1", tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def delta(base: Path, tmp_path: Path) -> Path:
    return erase(str(base), tmp_path / "rust.safetensors")


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("compvis", "rust.safetensors"),
        ("diffusers", "rust"),
        ("delta", "rust-delta.safetensors"),
        ("lora", "rust-lora.safetensors"),
        ("kohya", "rust-kohya.safetensors"),
        ("authors", "esd-Rust-from-Rust-esdx.safetensors"),
    ],
)
def test_every_form_goes_to_the_workspace_under_its_own_name(
    form: str, name: str, delta: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["export", str(delta), "--to", form, "--root", str(tmp_path), "--quiet"]) == 0
    path = tmp_path / "outputs" / "exports" / name
    assert capsys.readouterr().out == f"{path}\n"
    assert path.exists()


def test_what_a_bases_folder_says_and_nothing_uses_is_told_once(
    base: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "model"))
    config = folder / "vae" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "tile_size": 64}))
    out = tmp_path / "m.safetensors"
    assert run(["export", str(folder), "--to", "compvis", "-o", str(out)]) == 0
    assert capsys.readouterr().err.count("more than this version uses: tile_size") == 1


def test_a_lora_prints_its_relative_error_and_what_it_leaves_out(
    delta: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "lora.safetensors"
    command = ["export", str(delta), "--to", "lora", "--rank", "2", "-o", str(out), "--json"]
    assert run(command) == 0
    captured = capsys.readouterr()
    assert "relative error of their change 0." in captured.err
    assert "a LoRA holds no biases and norms: 16 changed tensors are left out" in captured.err
    document = json.loads(captured.out)
    assert document["path"] == str(out)
    assert set(document["ranks"].values()) == {2}
    assert 0 < document["relative_error"] < document["relative_error_with_left_out"] < 1
    assert len(document["left_out"]) == 16


def test_a_u_nets_lora_is_kohyas_by_either_name(delta: Path, tmp_path: Path) -> None:
    lora, kohya = (
        export(delta, form, tmp_path / f"{form}.safetensors") for form in ("lora", "kohya")
    )
    assert lora.read_bytes() == kohya.read_bytes()


def test_an_exported_model_tells_its_own_layout_not_its_bases(
    delta: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = export(delta, "compvis", tmp_path / "whole.safetensors")
    capsys.readouterr()
    assert run(["inspect", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["layout"]) == ("model", "compvis")
    assert found["about"]["concept"] == "Rust"


def test_a_dry_run_writes_nothing(delta: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out.ckpt"
    assert (
        run(["export", str(delta), "--to", "compvis", "-o", str(out), "--dry-run", "--json"]) == 0
    )
    assert json.loads(capsys.readouterr().out)["form"] == "compvis"
    assert [path.name for path in tmp_path.iterdir()] == ["rust.safetensors"]


def test_a_type_halves_the_file(delta: Path, tmp_path: Path) -> None:
    whole = export(delta, "compvis", tmp_path / "whole.safetensors")
    half = export(delta, "compvis", tmp_path / "half.safetensors", "--dtype", "fp16")
    assert half.stat().st_size < 0.55 * whole.stat().st_size


@pytest.mark.parametrize(
    ("flags", "status", "complaint"),
    [
        (["--to", "onnx"], 2, "no form 'onnx'"),
        (["--to", "compvis", "--dtype", "int8"], 2, "no type 'int8'"),
        (["--to", "compvis", "--rank", "4"], 2, "--rank and --energy are of LoRAs only"),
        (["--to", "lora", "--rank", "4", "--energy", "0.9"], 2, "exclude each other"),
        (["--to", "lora", "--energy", "1.1"], 2, "--energy is 1.1"),
        (["--to", "compvis", "--output", "model.bin"], 2, "cannot be called model.bin"),
        (["--to", "authors", "--output", "x.pt"], 2, "safetensors, and cannot be called x.pt"),
        (["--to", "lora", "--output", "lora"], 2, "safetensors, and cannot be called lora"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_exit_status(
    flags: list[str], status: int, complaint: str, delta: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["export", str(delta), "--root", str(tmp_path), *flags]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert complaint in captured.err
    assert "Traceback" not in captured.err


def test_what_is_there_already_is_never_written_over(
    delta: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "mine.safetensors"
    out.write_text("mine")
    assert run(["export", str(delta), "--to", "compvis", "-o", str(out)]) == 2
    assert "exists" in capsys.readouterr().err
    out.unlink()
    out.with_suffix(".yaml").write_text("mine")
    assert run(["export", str(delta), "--to", "compvis", "-o", str(out)]) == 2
    assert "mine.yaml exists" in capsys.readouterr().err


def test_a_pickle_goes_beside_the_safetensors_of_the_same_model(
    delta: Path, tmp_path: Path, capsys: Capture
) -> None:
    export(delta, "compvis", tmp_path / "both.safetensors")
    export(delta, "compvis", tmp_path / "both.ckpt")
    assert run(["diff", str(tmp_path / "both.safetensors"), str(tmp_path / "both.ckpt")]) == 0
    assert "0 tensors changed" in capsys.readouterr().err


def test_a_base_has_no_delta_but_goes_into_the_other_layout(
    base: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["export", str(base), "--to", "lora", "--root", str(tmp_path)]) == 2
    assert "nothing is erased from it" in capsys.readouterr().err
    export(str(base), "compvis", tmp_path / "tiny.ckpt")


def test_what_an_xl_folder_says_of_the_empty_prompt_is_kept(tmp_path: Path) -> None:
    base = tiny_folder("sdxl", tmp_path / "xl")
    index = base / "model_index.json"
    content = json.loads(index.read_text())
    index.write_text(json.dumps({**content, "force_zeros_for_empty_prompt": False}))
    out = export(str(base), "diffusers", tmp_path / "out")
    written = json.loads((out / "model_index.json").read_text())
    assert written == {**content, "force_zeros_for_empty_prompt": False}


def test_a_run_goes_out_under_its_own_name(base: Path, tmp_path: Path, capsys: Capture) -> None:
    settings = ["--iterations", "1", "--ddim-steps", "2", "--device", "cpu", "--quiet"]
    settings += ["--no-contact-sheet", "--image-size", "64"]
    run_folder = tmp_path / "rust-run"
    command = ["train", "--model", str(base), "--concept", "Rust", "-o", str(run_folder)]
    assert run([*command, *settings]) == 0
    capsys.readouterr()
    assert run(["inspect", str(run_folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["family"], found["layout"]) == ("run", "sd1", "diffusers")
    assert found["about"]["settings"]["iterations"] == 1
    assert run(["export", str(run_folder), "--to", "lora", "--root", str(tmp_path)]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path == tmp_path / "outputs" / "exports" / "rust-run-lora.safetensors"
    assert run(["inspect", str(path), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)["about"]
    assert (about["concept"], about["base"]) == ("Rust", str(base))


def test_diff_names_the_tensors_that_an_erasure_changed_whatever_the_layout(
    base: Path, delta: Path, tmp_path: Path, capsys: Capture
) -> None:
    erased = export(delta, "compvis", tmp_path / "erased.ckpt")
    capsys.readouterr()
    assert run(["diff", str(base), str(erased), "--root", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    names = captured.out.splitlines()
    assert len(names) == 80
    assert all(name.startswith("unet.") and ".attn2." in name for name in names)
    assert "80 tensors changed" in captured.err
    module = "unet.mid_block.attentions.0.transformer_blocks.0.attn2"
    row = next(line for line in captured.err.splitlines() if line.startswith(module))
    assert row.split()[1] == "5/5"
    assert run(["diff", str(delta), str(erased), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["tensors"] == []


def test_inspect_tells_one_fact_a_line_or_a_document(
    delta: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert run(["inspect", "pocket", "--root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for fact in ("kind: model", "family: sd1", "layout: diffusers", "dtype: fp16"):
        assert fact in lines
    assert run(["inspect", str(delta), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["kind"], document["about"]["concept"]) == ("delta", "Rust")
    assert (document["family"], document["layout"]) == ("sd1", "diffusers")  # its base's
    assert run(["inspect", str(tmp_path / "nothing")]) == 3
    assert run(["inspect", "compvis", "--root", str(tmp_path)]) == 3


@pytest.mark.parametrize(
    "line",
    [
        ("export", "--to", "diffusers"),
        ("sample", "--prompt", "a", "--dry-run", "--no-estimate", "--model"),
    ],
)
def test_the_first_reading_of_a_pickle_is_told(
    line: tuple[str, ...], tmp_path: Path, capsys: Capture
) -> None:
    model = str(tiny_compvis("sd1", tmp_path / "model.ckpt", "state_dict"))
    assert run([*line, model, "--root", str(tmp_path)]) == 0
    assert f"reading {model} for the first time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("down", "up", "status"), [((1, 3), (5, 1), 5), ((1, 4), (5, 1, 3), 3), ((0, 4), (5, 0), 3)]
)
def test_a_dry_run_finds_a_lora_that_does_not_fit(
    down: tuple[int, ...],
    up: tuple[int, ...],
    status: int,
    base: Path,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    module = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    lora = tmp_path / "lora.safetensors"
    factors = {
        f"{module}.lora_A.weight": torch.ones(down),
        f"{module}.lora_B.weight": torch.ones(up),
    }
    save_file(factors, lora)
    on = [str(lora), "--base", str(base), "--root", str(tmp_path), "--dry-run"]
    assert run(["apply", *on]) == status
    assert run(["export", *on, "--to", "compvis"]) == status
    plan = ["--no-estimate", "--model", *on]
    assert run(["sample", "--prompt", "a", *plan]) == status
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count(f"error: {lora}") == 3
