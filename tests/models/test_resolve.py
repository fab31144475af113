"""What a user may call a model, and what is found under that name."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from esdctl.checkpoints.changes.delta import write_delta
from esdctl.checkpoints.layouts.model_files import open_model
from esdctl.errors import EsdctlError, InputError, IntegrityError, StorageError, UsageError
from esdctl.models.image_size import trained_size
from esdctl.models.named import POCKET, default_model
from esdctl.models.resolve import Pipeline, resolve_model
from esdctl.sampling.defaults import default_guidance
from esdctl.storage.workspace import Workspace
from tests.checkpoints.tiny_models import tiny_compvis, tiny_folder

CHANGE = {"conv_in.bias": torch.full((32,), 3.0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("sd1", tmp_path_factory.mktemp("models") / "folder")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_compvis("sd1", tmp_path_factory.mktemp("models") / "m.safetensors")


def find(name: object, root: Path = Path(), **options: str) -> Pipeline:
    return resolve_model(str(name), Workspace(root), base=options.get("base"))


def placed(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path((shutil.copytree if source.is_dir() else shutil.copy)(source, target))


def test_each_name_finds_its_files_in_the_workspace(
    folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    compvis = placed(checkpoint, tmp_path / "models/compvis/style50/compvis.ckpt")
    diffuser = placed(folder, tmp_path / "models/diffuser/style50")
    hub = placed(folder, tmp_path / "models/hub/owner--name")
    assert find("pocket", tmp_path).path == POCKET
    assert find("compvis", tmp_path).path == compvis
    assert find("diffuser", tmp_path).path == find("diffusers", tmp_path).path == diffuser
    assert find("hub:owner/name", tmp_path).path == hub
    assert find(checkpoint).name == str(checkpoint.resolve())


def test_the_default_is_compvis_then_diffuser_then_pocket(
    folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    assert default_model(Workspace(tmp_path)) == "pocket"
    placed(folder, tmp_path / "models/diffuser/style50")
    assert default_model(Workspace(tmp_path)) == "diffuser"
    placed(checkpoint, tmp_path / "models/compvis/style50/compvis.ckpt")
    assert default_model(Workspace(tmp_path)) == "compvis"


@pytest.mark.parametrize("name", ["compvis", "diffuser", "hub:owner/name"])
def test_a_model_that_is_not_downloaded_says_how(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        find(name, tmp_path)
    assert f"esdctl download {name}" in caught.value.hint


def test_a_hub_id_without_its_prefix_is_answered_with_it(folder: Path, tmp_path: Path) -> None:
    placed(folder, tmp_path / "models/hub/owner--name")
    with pytest.raises(InputError) as caught:
        find("owner/name", tmp_path)
    assert caught.value.hint == "did you mean hub:owner/name?"


def test_a_delta_fits_its_base_in_either_layout(
    folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    digest = find(folder).base_digest()
    write_delta(
        tmp_path / "d.safetensors", CHANGE, {"base": str(checkpoint), "base_digest": digest}
    )
    found = find(tmp_path / "d.safetensors")
    assert found.path == checkpoint
    assert found.base_digest() == digest != found.digest()
    assert torch.equal(found.changed()["conv_in.bias"], CHANGE["conv_in.bias"])


def test_a_delta_of_another_base_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    about = {"base": str(checkpoint), "base_digest": "0" * 64}
    write_delta(tmp_path / "d.safetensors", CHANGE, about)
    with pytest.raises(IntegrityError, match="another base"):
        find(tmp_path / "d.safetensors")


def test_an_erased_model_that_was_erased_again_keeps_both_changes(
    folder: Path, tmp_path: Path
) -> None:
    about = {"base": str(folder), "base_digest": find(folder).digest()}
    write_delta(tmp_path / "one.safetensors", CHANGE, about)
    first = find(tmp_path / "one.safetensors")
    other = {"conv_out.bias": torch.full((4,), 5.0)}
    about = {"base": first.name, "base_digest": first.digest()}
    write_delta(tmp_path / "two.safetensors", other, about)
    second = find(tmp_path / "two.safetensors")
    assert second.changed().keys() == {"conv_in.bias", "conv_out.bias"}
    assert second.base_digest() == first.digest()
    write_delta(tmp_path / "one.safetensors", other, {"base": str(folder)})
    with pytest.raises(IntegrityError, match="another base"):
        find(tmp_path / "two.safetensors")


def test_pictures_are_known_by_what_the_user_says_of_the_model(tmp_path: Path) -> None:
    base = tiny_compvis("sd2", tmp_path / "m.safetensors")
    plain = find(base)
    told = resolve_model(str(base), Workspace(tmp_path), prediction_type="epsilon")
    assert plain.digest() == told.digest() == plain.identity()
    assert told.identity() != plain.identity()


def test_a_delta_without_a_base_asks_for_one(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "esd-Dogs-from-Dogs-esdx.safetensors"
    save_file(CHANGE, path)
    with pytest.raises(InputError, match="which model") as caught:
        find(path)
    assert "--base" in caught.value.hint
    found = find(path, base=str(folder))
    assert (found.path, found.delta) == (folder, path)
    assert torch.equal(found.changed()["conv_in.bias"], CHANGE["conv_in.bias"])


def test_a_delta_opens_its_base_as_it_was_opened_in_training(tmp_path: Path) -> None:
    base = tiny_compvis("sd2", tmp_path / "m.safetensors")
    settings = json.dumps({"prediction_type": "epsilon", "model_config_path": "gone.yaml"})
    bias = find(base).files.read("unet")["conv_in.bias"]
    about = {"base": str(base), "settings": settings}
    write_delta(tmp_path / "d.safetensors", {"conv_in.bias": bias}, about)
    assert find(base).files.architecture.prediction_type == "v_prediction"
    found = find(tmp_path / "d.safetensors")
    assert found.files.architecture.prediction_type == "epsilon"


def test_a_config_file_and_a_prediction_type_reach_the_base(
    folder: Path, checkpoint: Path, tmp_path: Path
) -> None:
    config = tmp_path / "c.yaml"
    unet = {"params": {"num_heads": 4}}
    config.write_text(json.dumps({"model": {"params": {"unet_config": unet}}}))
    found = resolve_model(str(checkpoint), Workspace(tmp_path), model_config=config)
    assert found.files.architecture.denoiser["attention_head_dim"] == 4
    with pytest.raises(UsageError, match="x0"):
        resolve_model(str(folder), Workspace(tmp_path), prediction_type="x0")


def test_pocket_keeps_its_concepts_and_guidance_in_the_other_layout(tmp_path: Path) -> None:
    from esdctl.checkpoints.changes.export import write_compvis

    pocket = open_model(POCKET)
    write_compvis(tmp_path / "mine.ckpt", pocket.tensors, pocket.architecture)
    copy = find(tmp_path / "mine.ckpt")
    assert copy.is_embedded
    assert copy.folder == POCKET
    assert copy.digest() == find("pocket").digest()
    assert default_guidance(copy) == 3.0
    assert trained_size(copy) == 128


def test_another_model_is_not_pocket(folder: Path, checkpoint: Path) -> None:
    assert not find(folder).is_embedded
    assert find(checkpoint).folder == checkpoint.parent
    assert default_guidance(find(checkpoint)) == 7.5


def test_a_file_that_is_neither_model_nor_delta_is_refused(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "resnet.safetensors")
    with pytest.raises(InputError, match="no model, delta or LoRA"):
        find(tmp_path / "resnet.safetensors")
    (tmp_path / "notes.txt").write_text("to do")
    with pytest.raises(EsdctlError, match=r"notes\.txt"):
        find(tmp_path / "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="neither a pipeline folder"):
        find(tmp_path / "empty")


def test_a_run_that_is_not_finished_says_how_to_finish_it(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match="not finished") as caught:
        find(tmp_path)
    assert "--resume" in caught.value.hint


def test_a_full_disk_is_told_at_the_first_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr("esdctl.models.resolve.open_model", full)
    with pytest.raises(StorageError):
        _ = Pipeline("model", tmp_path / "model.ckpt").is_embedded
