"""A disk that is full or read-only: told with its path, and nothing is half written."""

from pathlib import Path

import pytest

from tests.erasing.conftest import Train, command
from tests.storage import small_disk
from tests.warm import Warm


def test_a_full_disk_is_told_and_leaves_no_half_written_file(
    tiny_model: Path, tmp_path: Path, warm: Warm
) -> None:
    with small_disk.mounted(tmp_path / "disk") as disk:
        short = ("--train-method", "full", "--iterations", "2", "--save-every", "1")
        words = command(tiny_model, *short, "--output", str(disk / "run"))
        done = warm.run(*words, cwd=tmp_path)  # its files are closed, and the disk is free
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
