"""A run's delta is used as a model only while it is what the run left."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from esdctl.checkpoints.changes.delta import write_delta
from esdctl.cli.app import run
from esdctl.models.named import POCKET
from tests.verification.conftest import flip, publish


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A finished run of pocket that changes nothing but a bias, with its manifest."""
    folder = tmp_path / "outputs/runs/Dogs-xattn-0a0a0a0a"
    folder.mkdir(parents=True)
    bias = load_file(POCKET / "unet/diffusion_pytorch_model.safetensors")["conv_out.bias"]
    about = {"base": "pocket", "concept": "Dogs"}
    write_delta(folder / "delta.safetensors", {"conv_out.bias": torch.zeros_like(bias)}, about)
    record = {"settings": {}, "settings_digest": "", "base": {"name": "pocket"}}
    (folder / "run.json").write_text(json.dumps(record))
    publish(folder, "run")
    return folder


def sample(model: Path) -> int:
    line = ["sample", "--model", str(model), "--prompt", "a dog", "--dry-run", "--no-estimate"]
    return run([*line, "--root", str(model.parents[2])])


def test_a_sound_run_is_used(sealed: Path) -> None:
    assert sample(sealed) == 0


@pytest.mark.parametrize("name", ["", "delta.safetensors"])
def test_a_flipped_byte_is_refused(
    name: str, sealed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(sealed / "delta.safetensors", -1)
    assert sample(sealed / name if name else sealed) == 5
    shown = capsys.readouterr().err
    assert "is not what the run left" in shown
    assert f"esdctl verify {sealed}" in shown


def test_a_damaged_manifest_is_refused(sealed: Path) -> None:
    flip(sealed / ".esdctl-manifest.json", 40)
    assert sample(sealed) == 5


def test_verify_checks_every_finished_run_of_the_workspace(
    sealed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = sealed.with_name("Cats-xattn-1b1b1b1b")
    unfinished.mkdir()
    (unfinished / "run.json").write_text("{}")
    root = ["--root", str(sealed.parents[2])]
    run(["verify", *root])
    assert f"{unfinished} is left out: the run is not finished" in capsys.readouterr().err
    run(["verify", *root, "--dry-run"])
    assert str(sealed) in capsys.readouterr().out
    flip(sealed / "delta.safetensors", -1)
    assert run(["verify", *root]) == 1
    assert "delta.safetensors: sha256 is" in capsys.readouterr().err


def test_one_is_singular(sealed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sealed / "run.json").unlink()
    publish(sealed, "one")
    run(["verify", str(sealed)])
    assert "1 file " in capsys.readouterr().err
