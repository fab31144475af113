"""A run goes on with the settings that it recorded, whatever else says otherwise today."""

import json
from pathlib import Path

import pytest

from esdctl.cli.app import run
from tests.erasing.conftest import Train


def test_a_setting_that_was_taken_back_from_the_preset_stays_away(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text("image_size: null\n")
    asked = ["--preset", "unlearn-canvas", "--config", "own.yaml", "--iterations", "1"]
    assert train("--output", "run", *asked) == 0
    assert json.loads((tmp_path / "run/run.json").read_text())["settings"]["image_size"] is None
    assert run(["train", "--resume", "run"]) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_a_resumed_run_may_change_its_devices_and_nothing_that_decides_the_result(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--output", "run", "--iterations", "1") == 0
    assert run(["train", "--resume", "run", "--devices", "cpu"]) == 0
    for changing in ("--dtype=bf16", "--output=other", "--preset=style", "--concept=Dogs"):
        assert run(["train", "--resume", "run", changing]) == 2
        assert f"{changing.partition('=')[0]} would change them" in capsys.readouterr().err


def test_neither_environment_nor_the_workspaces_file_changes_a_resumed_run(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert train("--output", "run", "--iterations", "1") == 0
    (tmp_path / "esdctl.yaml").write_text("train:\n  iterations: 7\n")
    monkeypatch.setenv("ESDCTL_TRAIN_LR", "1")
    capsys.readouterr()
    assert run(["train", "--resume", "run", "--show-config", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["settings"]
    assert rows["iterations"] == {"value": 1, "origin": "file run/run.json"}
    assert rows["lr"]["value"] == 1e-3
    assert run(["train", "--resume", "run"]) == 0
    unused = "ESDCTL_TRAIN_LR (environment) is not used: a resumed run keeps its settings"
    assert unused in capsys.readouterr().err
