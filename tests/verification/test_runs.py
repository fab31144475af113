"""A run folder is sound when its record is readable and its delta and sheet are whole."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from esdctl.checkpoints.changes.delta import write_delta
from esdctl.erasing.run_folder import RunFolder
from esdctl.storage.manifest import MANIFEST_NAME
from esdctl.verification.runs import verify_run

BASE = "ab" * 32


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    tensors = {"to_k.weight": torch.ones(2, 2), "to_v.weight": torch.zeros(2)}
    write_delta(folder / "delta.safetensors", tensors, {"base": "pocket", "base_digest": BASE})
    record = {"settings": {}, "settings_digest": "", "base": {"name": "pocket", "sha256": BASE}}
    (folder / "run.json").write_text(json.dumps(record))
    Image.new("RGB", (32, 32)).save(folder / "contact_sheet.png")
    return folder


def told(run: Path) -> dict[str, str]:
    """The failed checks and what was measured."""
    return {check.name: check.measured for check in verify_run(run).failures}


def test_a_finished_run_passes(run: Path) -> None:
    assert told(run) == {}
    assert [check.name for check in verify_run(run).checks] == ["record", "delta", "contact sheet"]


def test_a_damaged_record_is_named(run: Path) -> None:
    (run / "run.json").write_text("{")
    assert "is damaged" in told(run)["record"]


def test_an_unfinished_run_fails(run: Path) -> None:
    (run / "contact_sheet.png").unlink()
    assert told(run) == {"delta": "the run is not finished"}


def test_a_truncated_delta_is_named(run: Path) -> None:
    delta = run / "delta.safetensors"
    delta.write_bytes(delta.read_bytes()[:-1])
    assert "delta" in told(run)


def test_a_delta_of_another_base_is_named(run: Path) -> None:
    write_delta(run / "delta.safetensors", {}, {"base": "pocket", "base_digest": "cd" * 32})
    assert "another base" in told(run)["delta"]


def test_a_delta_with_a_value_that_is_not_finite_is_named(run: Path) -> None:
    values = {"to_k.weight": torch.tensor([1.0, float("nan")])}
    write_delta(run / "delta.safetensors", values, {"base": "pocket", "base_digest": BASE})
    assert told(run)["delta"] == "to_k.weight holds a value that is not finite"


def test_a_damaged_sheet_is_named(run: Path) -> None:
    sheet = run / "contact_sheet.png"
    sheet.write_bytes(sheet.read_bytes()[:40])
    assert "contact sheet" in told(run)


@pytest.mark.parametrize("name", ["delta.safetensors", "run.json", "contact_sheet.png"])
def test_a_flipped_bit_in_any_sealed_file_is_named(run: Path, name: str) -> None:
    RunFolder(run).seal("Rust", "ef" * 32)
    assert told(run) == {}
    content = bytearray((run / name).read_bytes())
    content[-3] ^= 1
    (run / name).write_bytes(content)
    failed = [check.file for check in verify_run(run).failures if check.name == "sha256"]
    assert failed == [name]


def test_a_damaged_manifest_of_a_run_is_named(run: Path) -> None:
    RunFolder(run).seal("Rust", "ef" * 32)
    manifest = run / MANIFEST_NAME
    manifest.write_text(manifest.read_text().replace("esdctl train", "esdctl trains"))
    assert "is damaged" in told(run)["manifest"]
