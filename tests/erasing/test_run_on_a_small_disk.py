"""A disk that is full or read-only: told with its path, and nothing is half written."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.erasing.conftest import Train
from tests.storage import small_disk


def test_a_full_disk_is_told_and_leaves_no_half_written_file(
    tiny_model: Path, tmp_path: Path
) -> None:
    with small_disk.mounted(tmp_path / "disk") as disk:
        command = [
            sys.executable, "-m", "esdctl", "train", "--model", str(tiny_model),
            "--concept", "Rust", "--train-method", "full", "--iterations", "2",
            "--ddim-steps", "1", "--save-every", "1", "--output", str(disk / "run"),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 7, done.stderr
        assert (disk / "run/run.json").exists()
        assert not (disk / "run/delta.safetensors").exists()
        assert not list((disk / "run/checkpoints").iterdir())
    assert done.stdout == ""
    assert str(disk) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_read_only_disk_is_told(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk.mounted(tmp_path / "disk") as disk:
        small_disk.make_read_only(disk)
        assert train("--output", str(disk / "run")) == 7
    assert str(disk) in capsys.readouterr().err
