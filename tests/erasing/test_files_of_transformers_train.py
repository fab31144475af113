"""Files of SD 3 and FLUX.1 are trained, sampled and exported as the folders they are made from."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import esdctl
from esdctl.checkpoints.layouts.model_files import open_model
from esdctl.cli.app import run
from esdctl.models.named import DELTA_NAME
from esdctl.storage.atomic import read_jsonl
from tests.checkpoints.tiny_flow_models import tiny_sd3
from tests.checkpoints.tiny_flux_models import tiny_flux
from tests.checkpoints.tiny_one_file import black_forest, part_of, stability, whole_sd3, written

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd3(tmp_path_factory.mktemp("sd3") / "rest", dual=True, channels_a_head=64)


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    tensors = stability(part_of(folder, "transformer"))
    return written(folder.parent / "sd3.5_medium.safetensors", tensors)


@pytest.fixture(scope="module")
def erased(file: Path, folder: Path) -> Path:
    output = file.parent / "run"
    assert run([*train(file, output), "--pipeline", str(folder)]) == 0
    return output


def train(model: Path, output: Path) -> list[str]:
    line = ["train", "--model", str(model), "--concept", "Rust", "--output", str(output)]
    line += ["--lr", "0.05", "--iterations", "2", "--ddim-steps", "2", "--batch-size", "1"]
    line += ["--image-size", "64", "--no-contact-sheet", "--devices", "cpu"]
    return [*line, "--root", str(output.parent)]


def pictures(model: Path, output: Path, *more: str) -> list[bytes]:
    line = ["sample", "--model", str(model), "--prompt", "a dog", "--steps", "2", "--device", "cpu"]
    line += ["--image-size", "64", "--output", str(output), "--root", str(output.parent)]
    assert run([*line, *more]) == 0
    return [Image.open(path).tobytes() for path in sorted(output.glob("*.png"))]


def test_an_erasure_is_that_of_the_folder(erased: Path, folder: Path, tmp_path: Path) -> None:
    assert run(train(folder, tmp_path / "run")) == 0
    ours, theirs = (load_file(path / DELTA_NAME) for path in (erased, tmp_path / "run"))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():  # a view of a fused matrix is aligned otherwise in memory
        assert torch.allclose(value, theirs[name], atol=1e-4), name


def test_pictures_are_those_of_the_folder(file: Path, folder: Path, tmp_path: Path) -> None:
    ours = pictures(file, tmp_path / "file", "--pipeline", str(folder))
    assert ours == pictures(folder, tmp_path / "folder")
    assert len(ours) == 1
    rows = (read_jsonl(tmp_path / name / "pictures.jsonl")[0] for name in ("file", "folder"))
    assert len({row["model_digest"] for row in rows}) == 1


def test_a_run_remembers_what_supplied_the_rest(erased: Path, folder: Path, tmp_path: Path) -> None:
    settings = json.loads((erased / "run.json").read_text())["settings"]
    assert settings["pipeline"] == str(folder)
    assert len(pictures(erased, tmp_path / "pictures")) == 1


def test_a_run_is_verified_against_its_file_and_folder(erased: Path, capsys: Captured) -> None:
    assert run(["verify", str(erased), "--root", str(erased.parent)]) == 0
    assert "some of text-kv's, no other" in capsys.readouterr().err


@pytest.mark.parametrize("is_of_folder", [True, False])
def test_a_file_is_compared_with_its_run_or_folder(
    is_of_folder: bool, erased: Path, file: Path, folder: Path, capsys: Captured
) -> None:
    other = folder if is_of_folder else erased
    assert run(["diff", str(file), str(other), "--pipeline", str(folder)]) == 0
    changed = [] if is_of_folder else [f"transformer.{n}" for n in load_file(erased / DELTA_NAME)]
    assert sorted(capsys.readouterr().out.split()) == sorted(changed)


def test_what_a_run_changes_is_applied_to_its_file(erased: Path, tmp_path: Path) -> None:
    applied = tmp_path / "m.safetensors"
    assert run(["apply", str(erased), "--to", "compvis", "--output", str(applied)]) == 0
    delta, found = load_file(erased / DELTA_NAME), open_model(applied).read("transformer")
    assert all(torch.equal(found[name], value) for name, value in delta.items())


def test_an_export_remembers_what_supplied_the_rest(erased: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    assert run(["export", str(erased), "--to", "compvis", "--output", str(file)]) == 0
    assert run(["verify", str(file), "--run", str(erased), "--root", str(erased.parent)]) == 0
    assert pictures(file, tmp_path / "file") == pictures(erased, tmp_path / "run")


def test_python_opens_a_file_with_its_folder(erased: Path, file: Path, folder: Path) -> None:
    model = esdctl.open_model(file, pipeline=folder)
    [picture] = model.sample("a dog", steps=2, image_size=64)
    [same] = esdctl.open_run(erased).base().sample("a dog", steps=2, image_size=64)
    assert picture.tobytes() == same.tobytes()


def test_a_whole_file_without_t5_is_trained_and_says_so(
    folder: Path, tmp_path: Path, capsys: Captured
) -> None:
    path = written(tmp_path / "m.safetensors", whole_sd3(folder, has_t5=True))
    assert run(train(path, tmp_path / "run")) == 0
    assert "the text_encoder_3 (T5) is left out" in capsys.readouterr().err


def test_a_file_and_its_folder_are_exported_as_one_folder(
    file: Path, folder: Path, tmp_path: Path
) -> None:
    line = ["export", str(file), "--to", "diffusers", "--pipeline", str(folder)]
    assert run([*line, "--output", str(tmp_path / "m")]) == 0
    assert open_model(tmp_path / "m").digest() == open_model(folder).digest()


@pytest.mark.parametrize("command", ["train", "sample", "export"])
def test_a_transformer_alone_is_refused_with_what_to_do(
    command: str, file: Path, tmp_path: Path, capsys: Captured
) -> None:
    lines = {
        "train": train(file, tmp_path / "run"),
        "sample": ["sample", "--model", str(file), "--prompt", "a", "--root", str(tmp_path)],
        "export": ["export", str(file), "--to", "diffusers", "--output", str(tmp_path / "m")],
    }
    assert run(lines[command]) == 3
    assert "name a pipeline folder of Stable Diffusion 3.x" in capsys.readouterr().err


def test_what_is_no_pipeline_folder_supplies_nothing(
    file: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert run([*train(file, tmp_path / "run"), "--pipeline", str(tmp_path)]) == 3
    assert "which is no pipeline folder (model_index.json)" in capsys.readouterr().err


def test_flux_1_is_trained_from_its_makers_file(tmp_path: Path) -> None:
    folder = tiny_flux(tmp_path / "rest", is_wide=True)
    tensors = black_forest(part_of(folder, "transformer"))
    path = written(tmp_path / "flux1-dev.safetensors", tensors)
    assert run([*train(path, tmp_path / "run"), "--pipeline", str(folder)]) == 0
    assert all(".add_" in name for name in load_file(tmp_path / "run" / DELTA_NAME))
