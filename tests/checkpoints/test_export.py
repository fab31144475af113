"""What a written model holds, besides outputs: types, names, neighbours, and nothing half-done."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from esdctl.checkpoints.changes.authors_delta import authors_name, parse_authors_name
from esdctl.checkpoints.changes.export import converted, write_compvis, write_diffusers
from esdctl.checkpoints.layouts.model_files import ModelFiles, open_model
from esdctl.errors import StorageError, UsageError
from tests.checkpoints.tiny_models import tiny_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFiles:
    return open_model(tiny_folder("sd2-v", tmp_path_factory.mktemp("models") / "tiny"))


def test_a_pickle_is_a_state_dict_that_torch_loads_without_trust(
    model: ModelFiles, tmp_path: Path
) -> None:
    path = tmp_path / "esd_Rust_model.pth"
    write_compvis(path, model.tensors, model.architecture)
    content = torch.load(path, weights_only=True)
    assert list(content) == ["state_dict", "global_step", "esdctl"]
    assert content["global_step"] == 0  # other scripts ask for it without a look
    names = content["state_dict"].keys()
    for name in (
        "model.diffusion_model.input_blocks.0.0.weight",
        "first_stage_model.encoder.conv_in.weight",
        "cond_stage_model.model.positional_embedding",
        "alphas_cumprod",
    ):
        assert name in names
    stored = sum(tensor.nbytes for tensor in content["state_dict"].values())
    assert path.stat().st_size < 1.1 * stored  # each tensor's own bytes, not its whole storage


def test_the_config_beside_tells_heads_and_prediction_type(
    model: ModelFiles, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    write_compvis(path, model.tensors, model.architecture, about={"concept": "Rust"})
    document = yaml.safe_load((tmp_path / "model.yaml").read_text())
    assert document["model"]["params"]["parameterization"] == "v"
    (tmp_path / "model.yaml").unlink()
    again = open_model(path)  # the file's own metadata says the same
    assert again.architecture == replace(model.architecture, notes=())
    assert again.digest() == model.digest()
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["esdctl"])["concept"] == "Rust"


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_equal_models_give_equal_files(suffix: str, model: ModelFiles, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}{suffix}" for name in ("a", "b")]
    for path in paths:
        write_compvis(path, model.tensors, model.architecture, about={"concept": "Rust"})
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_schedule_keeps_its_precision_in_fp16(model: ModelFiles, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_compvis(path, model.tensors, model.architecture, torch.float16)
    tensors = load_file(path)
    assert tensors["model.diffusion_model.input_blocks.0.0.weight"].dtype == torch.float16
    assert tensors["alphas_cumprod"].dtype == torch.float32


@pytest.mark.parametrize("name", ["model.bin", "model"])
def test_a_checkpoint_with_another_suffix_is_refused(
    name: str, model: ModelFiles, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=name):
        write_compvis(tmp_path / name, model.tensors, model.architecture)
    assert not list(tmp_path.iterdir())


def test_a_folder_holds_what_older_transformers_read_as_well(
    model: ModelFiles, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    write_diffusers(folder, model.tensors, model.architecture, model.tokenizers, torch.float16)
    names = load_file(folder / "text_encoder/model.safetensors").keys()
    assert all(name.startswith("text_model.") for name in names)
    assert json.loads((folder / "text_encoder/config.json").read_text())["dtype"] == "float32"
    scheduler = json.loads((folder / "scheduler/scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "v_prediction"
    padding = json.loads((folder / "tokenizer/tokenizer_config.json").read_text())["pad_token"]
    assert padding == "!"


def test_a_folder_is_never_written_over_another(model: ModelFiles, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(StorageError):
        write_diffusers(tmp_path, model.tensors, model.architecture, model.tokenizers)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_without_a_type_nothing_is_lost() -> None:
    half, single = torch.ones(2).half(), torch.ones(2) / 3
    whole = {"half": half, "single": single, "count": torch.arange(2)}
    result = converted(whole, None)
    assert torch.equal(result["single"], single)
    assert result["half"].dtype == torch.float32
    assert result["count"].dtype == torch.int64
    brain = converted({"half": half, "brain": torch.ones(2).bfloat16()}, None)
    assert {tensor.dtype for tensor in brain.values()} == {torch.float32}
    assert converted({"half": half}, None)["half"].dtype == torch.float16


@pytest.mark.parametrize(
    ("concept", "erase_from", "method", "name"),
    [
        ("Van Gogh", None, "xattn", "esd-Van_Gogh-from-Van_Gogh-esdx.safetensors"),
        ("hat", "cowboy", "esd-u", "esd-hat-from-cowboy-esdu.safetensors"),
        ("nudity", None, "noxattn", "esd-nudity-from-nudity-esdu.safetensors"),
        ("a/b", None, "esd-x-strict", "esd-a_b-from-a_b-esdxstrict.safetensors"),
    ],
)
def test_the_authors_names_are_written_and_read(
    concept: str, erase_from: str | None, method: str, name: str
) -> None:
    written = authors_name(concept, erase_from, method)
    assert written.file_name() == name
    read = parse_authors_name(Path(name))
    assert read is not None
    assert read.method == written.method
    assert read.file_name() == name
    assert parse_authors_name(Path("delta.safetensors")) is None
