"""Which files of a pipeline folder hold a part, under which names they are read, and what fits."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from esdctl.checkpoints.layouts.architecture import architecture_of_folder
from esdctl.checkpoints.layouts.weight_files import PartTensors, find_weights, read_weights
from esdctl.checkpoints.model_digest import digest_of
from esdctl.errors import InputError
from esdctl.models.families.family import Part
from tests.checkpoints.tiny_models import Family, tiny_folder

PARTS: tuple[Part, ...] = ("unet", "vae", "text_encoder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("sd1", tmp_path_factory.mktemp("models") / "sd1")


def opened(folder: Path, part: Part) -> PartTensors:
    return read_weights(find_weights(folder, part), part)


def digest(folder: Path) -> str:
    return digest_of({part: opened(folder, part) for part in PARTS})


@pytest.mark.parametrize(
    "form",
    [
        {"sharded": True},
        {"safe": False},
        {"sharded": True, "safe": False},
        {"variant": "fp32"},
        {"variant": "fp32", "sharded": True},
    ],
    ids=str,
)
def test_the_same_weights_have_one_digest_in_every_form(
    form: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    assert digest(tiny_folder("sd1", tmp_path / "other", **form)) == digest(folder)


def test_another_precision_or_value_has_another_digest(folder: Path, tmp_path: Path) -> None:
    half = tiny_folder("sd1", tmp_path / "half", dtype=torch.float16, variant="fp16")
    others = {digest(half), digest(tiny_folder("sd1", tmp_path / "other", seed=1)), digest(folder)}
    assert len(others) == 3


def test_a_variant_is_taken_where_it_is_the_only_one(tmp_path: Path) -> None:
    folder = tiny_folder("sd1", tmp_path / "m", dtype=torch.float16, variant="fp16")
    assert opened(folder, "unet").infos["conv_in.bias"].dtype == "F16"
    tiny_folder("sd1", tmp_path / "plain")
    for path in (tmp_path / "plain" / "unet").iterdir():
        path.rename(folder / "unet" / path.name)
    assert opened(folder, "unet").infos["conv_in.bias"].dtype == "F32"


def test_with_two_variants_and_no_plain_files_the_user_is_asked(tmp_path: Path) -> None:
    folder = tiny_folder("sd1", tmp_path / "m", variant="fp16")
    weights = folder / "vae" / "diffusion_pytorch_model.fp16.safetensors"
    weights.with_name("diffusion_pytorch_model.ema.safetensors").write_bytes(weights.read_bytes())
    with pytest.raises(InputError, match="vae") as caught:
        find_weights(folder, "vae")
    assert "ema, fp16" in caught.value.hint


def test_a_file_is_read_by_its_content_not_by_its_name(tmp_path: Path) -> None:
    folder = tiny_folder("sd1", tmp_path / "m")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    before = opened(folder, "unet")["conv_in.weight"].clone()
    weights.rename(weights.with_suffix(".bin"))
    assert torch.equal(opened(folder, "unet")["conv_in.weight"], before)


def rewritten(path: Path, names: dict[str, str]) -> None:
    tensors = load_file(path)
    save_file(
        {
            next((name.replace(old, new) for old, new in names.items() if old in name), name): value
            for name, value in tensors.items()
        },
        path,
    )


def test_old_names_are_read_under_the_present_ones(tmp_path: Path) -> None:
    folder = tiny_folder("sd1", tmp_path / "m")
    expected = digest(folder)
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    rewritten(folder / "vae" / "diffusion_pytorch_model.safetensors", old)
    text = folder / "text_encoder" / "model.safetensors"
    rewritten(text, {"embeddings.": "text_model.embeddings.", "encoder.": "text_model.encoder."})
    numbers = {"text_model.embeddings.position_ids": torch.arange(77)}
    save_file({**load_file(text), **numbers}, text)
    assert digest(folder) == expected


@pytest.mark.parametrize("file", ["../outside.safetensors", "/etc/passwd", "a\\b.safetensors"])
def test_an_index_that_leaves_its_folder_is_refused(file: str, tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    index = tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"conv_in.bias": file}}))
    with pytest.raises(InputError, match="outside its folder"):
        find_weights(tmp_path, "unet")


@pytest.mark.parametrize("content", ["", "[]", '{"weight_map": 3}', "{}"])
def test_a_damaged_index_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(content)
    with pytest.raises(InputError, match="no index"):
        find_weights(tmp_path, "unet")


def test_an_index_that_lies_about_its_files_is_refused(tmp_path: Path) -> None:
    folder = tiny_folder("sd1", tmp_path / "m", sharded=True)
    index = folder / "vae" / "diffusion_pytorch_model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["no.such.tensor"] = next(iter(content["weight_map"].values()))
    index.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"disagree on 1 tensors: no\.such\.tensor"):
        opened(folder, "vae")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = tiny_folder("sd1", tmp_path / "m", sharded=True)
    shard = sorted((folder / "unet").glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(InputError, match=shard.name):
        find_weights(folder, "unet")


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_unet_beside_the_text_encoder_of_another_model_is_refused(
    family: Family, tmp_path: Path
) -> None:
    folder = tiny_folder(family, tmp_path / "model")
    config = folder / "text_encoder/config.json"
    document = json.loads(config.read_text())
    config.write_text(json.dumps({**document, "hidden_size": document["hidden_size"] + 8}))
    with pytest.raises(InputError, match="the U-Net asks for text embeddings of") as caught:
        architecture_of_folder(folder)
    assert "two kinds of model" in caught.value.hint
