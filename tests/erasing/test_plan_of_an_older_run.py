"""A run of an earlier version goes on: its record lacks the younger settings."""

import json
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.plan import plan_erase, plan_resume
from esdctl.storage.workspace import Workspace
from tests.erasing.conftest import Train

YOUNGER = (
    "model_config_path", "prediction_type", "devices", "dtype", "gradient_checkpointing", "format",
    "output_dir", "output_name", "tracker", "tracker_project", "tracker_run", "until",
    "probe_every", "warm_start", "pool", "pool_size", "pool_uses", "compile",
)  # fmt: skip


def test_a_record_without_the_younger_settings_is_resumed(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--output", "run", "--iterations", "1") == 0
    path = tmp_path / "run/run.json"
    record = json.loads(path.read_text())
    kept = {key: value for key, value in record["settings"].items() if key not in YOUNGER}
    path.write_text(json.dumps({**record, "settings": {**kept, "device": "cpu"}}))
    assert run(["train", "--resume", "run"]) == 0
    assert "nothing to do" in capsys.readouterr().err


def test_a_younger_preset_does_not_change_an_older_run(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    exact = {
        "concept": "Rust", "trajectory": "exact", "iterations": 100, "warm_start": False,
        "pool_size": TrainConfig().pool_size,
    }  # fmt: skip
    older = plan_erase(exact, {}, None, "pocket", tmp_path / "run", workspace)
    kept = older.config.model_dump(mode="json", exclude=set(YOUNGER))
    record = {"settings": kept, "settings_digest": older.digest, "preset": "pocket", "base": {}}
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text(json.dumps(record))
    resumed = plan_resume(tmp_path / "run", {}, workspace)
    assert resumed.config == older.config
    assert resumed.preset.values["warm_start"] is True


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
    assert run(["train", "--resume", "run", "--devices", "cpu", "--device", "cpu"]) == 2
    assert "given twice" in capsys.readouterr().err
    assert run(["train", "--resume", "run", "--device", "cpu"]) == 0
    assert run(["train", "--resume", "run", "--dtype", "bf16"]) == 2
    assert "--dtype would change them" in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["ESDCTL_TRAIN_DEVICE", "ESDCTL_TRAIN_DEVICES"])
def test_the_environment_names_the_device_in_both_spellings(
    variable: str, train: Train, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv(variable, "cpu,cpu")
    assert train("--show-config", "--json") == 0
    rows = json.loads(capsys.readouterr().out)["settings"]
    assert rows["devices"]["value"] == "cpu"  # the flag covers it
    assert run(["train", "--concept", "Rust", "--show-config", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["settings"]
    assert rows["devices"] == {"value": "cpu,cpu", "origin": "environment ESDCTL_TRAIN_DEVICES"}
