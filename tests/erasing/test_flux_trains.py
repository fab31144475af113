"""``esdctl train``, ``apply`` and ``sample`` on FLUX models."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file

from esdctl.cli.app import run
from esdctl.erasing.plan import plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.erasing.train_methods import select
from esdctl.models.families.registry import family_named
from esdctl.storage.workspace import Workspace
from tests.checkpoints.tiny_flow_models import copied
from tests.checkpoints.tiny_flux2_models import tiny_flux2
from tests.checkpoints.tiny_flux_models import tiny_flux

MODELS: dict[str, Callable[[Path], Path]] = {"flux": tiny_flux, "flux2": tiny_flux2}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("flux")
    return {name: make(folder / name) for name, make in MODELS.items()}


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(model: Path, *arguments: str) -> int:
    settings = [
        "--concept", "Rust", "--lr", "1e-3", "--iterations", "1", "--ddim-steps", "2",
        "--retain", "Dogs", "--image-size", "32", "--no-contact-sheet", "--output", "run",
    ]  # fmt: skip
    return run(["train", "--model", str(model), *settings, *arguments])


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize(
    ("trajectory", "method"),
    [("rolling", "joint-attn"), ("frozen", "esd-x-strict"), ("exact", "text-attn")],
)
def test_a_step_moves_the_chosen_parameters_alone(
    family: str, trajectory: str, method: str, models: dict[str, Path]
) -> None:
    assert train(models[family], "--trajectory", trajectory, "--train-method", method) == 0
    delta = load_file("run/delta.safetensors")
    base = load_file(models[family] / "transformer" / "diffusion_pytorch_model.safetensors")
    assert sorted(delta) == sorted(select(method, base, family_named(family)))
    assert all(not tensor.equal(base[name]) for name, tensor in delta.items())


@pytest.mark.parametrize("family", MODELS)
def test_a_run_is_sampled(
    family: str, models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(models[family]) == 0
    capsys.readouterr()
    settings = ["--prompt", "a dog", "--steps", "1", "--image-size", "256", "--devices", "cpu"]
    assert run(["sample", "--model", "run", *settings]) == 0
    with Image.open(capsys.readouterr().out.strip()) as picture:
        assert picture.size == (256, 256)


@pytest.mark.parametrize("family", MODELS)
def test_a_folder_with_a_run_applied_is_read_by_diffusers(
    family: str, models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(models[family]) == 0
    capsys.readouterr()
    assert run(["apply", "run", "--to", "diffusers"]) == 0
    whole = capsys.readouterr().out.strip()
    pipe, base = map(DiffusionPipeline.from_pretrained, (whole, models[family]))
    expected = base.transformer.state_dict() | load_file("run/delta.safetensors")
    torch.testing.assert_close(pipe.transformer.state_dict(), expected, rtol=0, atol=0)
    for part in ("vae", *(name for name in pipe.components if name.startswith("text_encoder"))):
        found, its = (getattr(each, part).state_dict() for each in (pipe, base))
        torch.testing.assert_close(found, its, rtol=0, atol=0)
    assert dict(pipe.scheduler.config) == dict(base.scheduler.config)


@pytest.mark.parametrize("family", MODELS)
def test_the_authors_form_is_written_and_read_back(
    family: str, models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(models[family]) == 0
    capsys.readouterr()
    assert run(["export", "run", "--to", "authors"]) == 0
    written = capsys.readouterr().out.strip()
    assert run(["apply", written, "--base", str(models[family])]) == 0
    found = load_file(capsys.readouterr().out.strip())
    delta = load_file("run/delta.safetensors")
    for name, tensor in delta.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-4, rtol=0)


def test_trajectories_of_a_distilled_model_have_no_second_pass(models: dict[str, Path]) -> None:
    flags = {"model": str(models["flux"]), "concept": "Rust", "image_size": 32}
    plan = plan_erase(EraseRequest(flags), Workspace(Path()))
    assert plan.preset.name == "flow-distilled"
    assert plan.config.start_guidance == 1.0
    plan = plan_erase(EraseRequest({**flags, "start_guidance": 3.0}), Workspace(Path()))
    assert [note for note in plan.notes if "second pass" in note]


def test_a_size_that_makes_no_whole_tokens_is_refused(
    models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--prompt", "a dog", "--image-size", "264", "--devices", "cpu"]
    assert run(["sample", "--model", str(models["flux"]), *settings]) == 2
    assert "a multiple of 16" in capsys.readouterr().err
    assert run(["train", "--model", str(models["flux"]), "--concept", "Rust", *settings[2:]]) == 2
    assert "a multiple of 16" in capsys.readouterr().err


@pytest.mark.parametrize("family", MODELS)
def test_what_a_model_is_called(
    family: str, models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(models[family]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["family"] == family


def test_the_method_of_flux_2_has_the_second_pass(models: dict[str, Path]) -> None:
    plan = plan_erase(
        EraseRequest({"model": str(models["flux2"]), "concept": "Rust", "image_size": 32}),
        Workspace(Path()),
    )
    assert plan.preset.name == "flow"
    assert plan.config.start_guidance > 1


def test_a_flux_2_that_was_distilled_is_refused(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(models["flux2"], tmp_path / "model")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "is_distilled": True}))
    assert train(folder) == 3
    assert "use the base model of FLUX.2 klein" in capsys.readouterr().err


def test_a_chat_model_without_its_template_is_refused(
    models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copied(models["flux2"], tmp_path / "model")
    template = folder / "tokenizer" / "chat_template.jinja"
    template.write_text("{% for message in %}")
    assert train(folder) == 3
    assert f"the chat template of the tokenizer in {folder}/tokenizer fails" in readable(capsys)
    template.unlink()
    assert train(folder) == 3
    assert "lacks its chat template" in capsys.readouterr().err


def readable(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())
