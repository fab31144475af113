"""A model opened in either layout gives the same tensors under the same names."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from esdctl.checkpoints import model_digest
from esdctl.checkpoints.layouts.model_files import ModelFiles, open_model
from esdctl.errors import EsdctlError, InputError, UsageError
from esdctl.models.named import POCKET
from esdctl.storage.digest import sha256_file
from tests.checkpoints.tiny_models import FAMILIES, Family, Form, tiny_compvis, tiny_folder

# CLIP's merges, lines 1 to 48,894 of OpenAI's bpe_simple_vocab_16e6.txt below a line "#version".
MERGES = "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a"


def all_equal(one: ModelFiles, other: ModelFiles) -> bool:
    return one.parts == other.parts and all(
        same(one.read(part), other.read(part)) for part in one.parts
    )


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_layouts_hold_the_same_model(family: Family, tmp_path: Path) -> None:
    folder = open_model(tiny_folder(family, tmp_path / "folder"))
    file = open_model(tiny_compvis(family, tmp_path / "m.safetensors", has_config=True))
    assert (folder.layout, file.layout) == ("diffusers", "compvis")
    assert file.architecture == folder.architecture
    assert all_equal(file, folder)
    assert file.digest() == folder.digest()
    other = open_model(tiny_compvis(family, tmp_path / "other.safetensors", seed=1))
    assert other.digest() != file.digest()


@pytest.mark.parametrize("form", ["state_dict", "bare"])
def test_a_pickled_checkpoint_is_the_same_model(form: Form, tmp_path: Path) -> None:
    pickled = open_model(tiny_compvis("sd1", tmp_path / "m.ckpt", form))
    folder = open_model(tiny_folder("sd1", tmp_path / "folder"))
    assert all_equal(pickled, folder)
    assert pickled.digest() == folder.digest()


def test_a_checkpoint_without_a_config_file_is_read_by_its_shapes(tmp_path: Path) -> None:
    file = open_model(tiny_compvis("sdxl", tmp_path / "m.pth", "state_dict"))
    assert file.architecture.family.name == "sdxl"
    assert file.parts == ("unet", "vae", "text_encoder", "text_encoder_2")


def test_pocket_is_the_same_model_in_either_layout(tmp_path: Path) -> None:
    from esdctl.checkpoints.layouts.compvis import compvis_tensors
    from esdctl.checkpoints.layouts.ldm_yaml import ldm_yaml

    pocket = open_model(POCKET)
    tensors = compvis_tensors(pocket.tensors, pocket.architecture)
    save_file({n: t.contiguous() for n, t in tensors.items()}, tmp_path / "pocket.safetensors")
    (tmp_path / "pocket.yaml").write_text(ldm_yaml(pocket.architecture))
    copy = open_model(tmp_path / "pocket.safetensors")
    assert copy.architecture == pocket.architecture
    assert copy.digest() == pocket.digest()


def test_a_digest_is_remembered_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESDCTL_CACHE_DIR", str(tmp_path / "cache"))
    path = tiny_compvis("sd1", tmp_path / "m.safetensors")
    os.utime(path, (1e9, 1e9))  # long ago, so that the digest is kept
    first = open_model(path).digest()
    with monkeypatch.context() as patched:
        patched.setattr(model_digest, "_line", None)  # reading a tensor would fail
        assert open_model(path).digest() == first
    tensors = load_file(path)
    tensors["model.diffusion_model.out.2.bias"] += 1
    save_file(tensors, path)
    assert open_model(path).digest() != first


def test_a_fresh_file_and_a_cache_that_cannot_be_written_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("no folder")
    monkeypatch.setenv("ESDCTL_CACHE_DIR", str(tmp_path / "cache"))
    path = tiny_compvis("sd1", tmp_path / "m.safetensors")
    assert open_model(path).digest() == open_model(path).digest()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoints_tokenizers_are_those_of_its_family(family: Family, tmp_path: Path) -> None:
    folder = open_model(tiny_folder(family, tmp_path / "folder"))
    file = open_model(tiny_compvis(family, tmp_path / "m.safetensors"))
    texts = ["a painting by Van Gogh", ""]
    for theirs, ours in zip(folder.tokenizers, file.tokenizers, strict=True):
        options: dict[str, Any] = {"pad_token": ours.padding} if ours.padding else {}
        tokens = [
            tokenizer(texts, padding="max_length", max_length=77).input_ids
            for tokenizer in (
                CLIPTokenizer.from_pretrained(theirs.folder),
                CLIPTokenizer.from_pretrained(ours.folder, **options),
            )
        ]
        assert tokens[0] == tokens[1]
        config = json.loads(ours.files["tokenizer_config.json"].read_text())
        assert config["pad_token"] == (ours.padding or "<|endoftext|>")


def test_the_vocabulary_is_clips_own() -> None:
    assert sha256_file(POCKET / "tokenizer" / "merges.txt") == MERGES
    tokenizer = CLIPTokenizer.from_pretrained(POCKET / "tokenizer")
    assert len(tokenizer) == 49_408
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]


@pytest.mark.parametrize(
    "part", ["unet/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json",
             "tokenizer/vocab.json", "model_index.json", "vae/diffusion_pytorch_model.safetensors"],
)  # fmt: skip
def test_a_folder_that_lacks_a_part_says_which(part: str, tmp_path: Path) -> None:
    folder = tiny_folder("sd1", tmp_path / "folder")
    (folder / part).unlink()
    with pytest.raises(InputError, match=Path(part).name) as caught:
        open_model(folder)
    assert caught.value.hint


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_model(tmp_path / "nothing.ckpt")
    with pytest.raises(InputError, match="no pipeline folder"):
        open_model(tmp_path)
    save_file({"down_blocks.0.x": torch.zeros(1)}, tmp_path / "unet.safetensors")
    with pytest.raises(InputError, match="no U-Net"):
        open_model(tmp_path / "unet.safetensors")
    (tmp_path / "page.ckpt").write_text("<!DOCTYPE html>")
    with pytest.raises(EsdctlError, match=r"page\.ckpt"):
        open_model(tmp_path / "page.ckpt")


def test_a_tensor_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tiny_compvis("sd1", tmp_path / "m.safetensors")
    tensors = load_file(path)
    del tensors["first_stage_model.post_quant_conv.bias"]
    save_file(tensors, path)
    with pytest.raises(InputError, match="post_quant_conv"):
        open_model(path)


def test_the_prediction_type_can_be_named_for_either_layout(tmp_path: Path) -> None:
    folder = tiny_folder("sd2", tmp_path / "folder")
    file = tiny_compvis("sd2", tmp_path / "m.safetensors", has_config=True)
    for path in (folder, file):
        assert open_model(path).architecture.prediction_type == "epsilon"
        named = open_model(path, prediction_type="v_prediction").architecture
        assert named.scheduler["prediction_type"] == "v_prediction"
        with pytest.raises(UsageError, match="sample"):
            open_model(path, prediction_type="sample")
