"""What a path holds is told from headers: for every form that download or train makes, at once."""

import json
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from esdctl.checkpoints.changes.delta import read_delta, read_delta_metadata, write_delta
from esdctl.checkpoints.layouts.inspection import inspect
from esdctl.checkpoints.layouts.model_files import open_model
from esdctl.errors import InputError, IntegrityError
from esdctl.storage.digest import sha256_file
from esdctl.storage.manifest import FileEntry, Manifest, write_manifest
from tests.checkpoints.full_size import FAMILIES, Family, full_size
from tests.checkpoints.tiny_models import compvis_infos, tiny_compvis, tiny_folder
from tests.models.exports import erase, export


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("sd2-v", tmp_path_factory.mktemp("models") / "tiny", dtype=torch.float16)


@pytest.fixture(scope="module")
def delta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return erase("pocket", tmp_path_factory.mktemp("deltas") / "delta.safetensors", "esd-x-strict")


def write_holes(path: Path, family: Family) -> int:
    """A checkpoint of a published model's size whose data is holes; gives its parameters."""
    entries, end = {}, 0
    for name, info in compvis_infos(full_size(family)).items():
        entries[name] = {
            "dtype": info.dtype,
            "shape": info.shape,
            "data_offsets": [end, end + info.bytes],
        }
        end += info.bytes
    header = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + end)
    return end // 4


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_full_size_is_told_from_its_header(family: Family, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    parameters = write_holes(path, family)
    assert path.stat().st_size > 4 * 10**9
    found = inspect(path)
    assert (found.kind, found.layout, found.family) == ("model", "compvis", family)
    unet = {"sd1": 859_520_964, "sd2": 865_910_724, "sdxl": 2_567_463_684}[family]
    assert found.parts["unet"] == unet
    assert unet < found.parameters <= parameters
    assert set(found.dtypes) == {"fp32"}
    assert bool(found.notes) == (family == "sd2")  # what SD 2.x predicts is a guess


@pytest.mark.slow
def test_the_command_tells_four_gigabytes_without_reading_them(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_holes(path, "sd1")
    command = [sys.executable, "-m", "esdctl", "inspect", str(path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "family: sd1" in told
    assert "unet: 859,520,964" in told
    assert path.stat().st_blocks * 512 < 10**8  # still holes


def test_both_layouts_of_a_model_are_told_alike(folder: Path, tmp_path: Path) -> None:
    path = tiny_compvis("sd2-v", tmp_path / "model.ckpt", "state_dict", has_config=True)
    one, two = inspect(folder), inspect(path)
    assert (one.layout, two.layout) == ("diffusers", "compvis")
    assert (one.family, one.prediction_type) == ("sd2", "v_prediction")
    assert (two.family, two.prediction_type) == ("sd2", "v_prediction")
    assert one.parts["unet"] == two.parts["unet"]
    assert set(one.dtypes) == {"fp16"}
    assert set(two.dtypes) == {"fp32"}
    assert two.about["global_step"] == "7"
    assert not list(tmp_path.glob(".*.safetensors"))  # nothing was converted


def test_a_digest_is_told_once_it_was_computed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESDCTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("esdctl.checkpoints.model_digest.SETTLED", 0.0)
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert inspect(copy).digest is None
    time.sleep(0.05)
    digest = open_model(copy).digest()
    assert inspect(copy).digest == digest


def test_a_delta_says_concept_method_base_and_settings(tmp_path: Path) -> None:
    path = tmp_path / "delta.safetensors"
    about = {"base": "pocket", "base_digest": "0" * 64, "concept": "Rust", "settings": '{"lr": 1}'}
    write_delta(path, {"mid_block.resnets.0.conv1.bias": torch.ones(5)}, about)
    found = inspect(path)
    assert found.kind == "delta"
    assert (found.tensors, found.parameters) == (1, 5)
    assert found.about == {**about, "settings": {"lr": 1}}
    assert found.sha256 == sha256_file(path)


def test_loras_and_authors_deltas_are_told(delta: Path, tmp_path: Path) -> None:
    lora = inspect(export(delta, "lora", tmp_path / "lora.safetensors", "--rank", "2"))
    assert (lora.kind, lora.about["ranks"]) == ("LoRA", [2])
    assert lora.about["concept"] == "Rust"
    name = "esd-hat-from-cowboy-esdx-strict.safetensors"
    authors = inspect(export(delta, "authors", tmp_path / name))
    assert authors.kind == "authors' delta"
    assert authors.about == {"concept": "hat", "erase_from": "cowboy", "method": "esdxstrict"}


def test_a_folder_tells_the_settings_of_its_erasure_as_a_file_does(
    folder: Path, tmp_path: Path
) -> None:
    source = erase(str(folder), tmp_path / "rust.safetensors")
    changed = {**read_delta_metadata(source), "settings": '{"lr": 1}'}
    write_delta(source, read_delta(source), changed)
    assert inspect(export(source, "diffusers", tmp_path / "rust")).about["settings"] == {"lr": 1}


def test_a_run_is_told_before_and_after_its_end(delta: Path, tmp_path: Path) -> None:
    record = {"settings": {"lr": 1e-5}, "base": {"name": "pocket"}, "concept": {"name": "Rust"}}
    (tmp_path / "run.json").write_text(json.dumps(record))
    found = inspect(tmp_path)
    assert (found.kind, found.tensors) == ("run", 0)
    assert "--resume" in found.notes[0]
    shutil.copy(delta, tmp_path / "delta.safetensors")
    found = inspect(tmp_path)
    assert found.tensors > 0
    assert found.about["concept"] == {"name": "Rust"}


def test_a_download_says_its_source_and_the_model_in_it(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "style50")
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    entries = tuple(
        FileEntry(path.relative_to(tmp_path).as_posix(), path.stat().st_size, sha256_file(path))
        for path in files
    )
    write_manifest(tmp_path, Manifest("diffuser", "https://example.org/a.zip", "abc", entries))
    found = inspect(tmp_path)
    assert (found.kind, found.family) == ("model", "sd2")
    assert found.about["source"] == "https://example.org/a.zip"


def test_a_download_of_pictures_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"x")
    entry = FileEntry("1.jpg", 1, sha256_file(tmp_path / "1.jpg"))
    write_manifest(tmp_path, Manifest("i2p", "https://example.org/i2p.zip", "abc", (entry,)))
    found = inspect(tmp_path)
    assert (found.kind, found.bytes, found.about["files"]) == ("download", 1, 1)


def test_tensors_of_no_known_kind_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "classifier.safetensors"
    save_file({"head.weight": torch.ones(3, 2), "steps": torch.ones(1, dtype=torch.int64)}, path)
    found = inspect(path)
    assert found.kind == "tensors of an unknown kind"
    assert (found.tensors, found.parameters, dict(found.dtypes)) == (2, 6, {"fp32": 6})


def test_what_is_nothing_we_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        inspect(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no pipeline folder"):
        inspect(tmp_path)
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises((InputError, IntegrityError), match=r"a\.txt"):
        inspect(tmp_path / "a.txt")
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(InputError, match="damaged"):
        inspect(tmp_path)
