"""A run's rows reach the tracker that was asked for, and its failure stops nothing."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from esdctl.erasing.config import TrainConfig
from esdctl.erasing.trackers import open_tracker
from esdctl.progress import Silent


class Warnings(Silent):
    """Keeps what a user would be warned of."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def warning(self, text: str) -> None:
        self.texts.append(text)


class FakeWandb(ModuleType):
    """Weights & Biases, as far as a run uses it."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.asked: list[dict[str, object]] = []
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.is_finished = False
        self.fault: Exception | None = None

    def Settings(self, **settings: object) -> dict[str, object]:  # noqa: N802
        return settings

    def init(self, **settings: object) -> "FakeWandb":
        self.asked.append(settings)
        return self

    def log(self, row: dict[str, float], step: int) -> None:
        if self.fault is not None:
            raise self.fault
        self.rows.append((step, row))

    def finish(self) -> None:
        self.is_finished = True


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def config(**settings: object) -> TrainConfig:
    return TrainConfig.model_validate(settings)


def test_wandb_gets_project_run_and_the_numbers_of_each_row(
    wandb: FakeWandb, tmp_path: Path
) -> None:
    settings = config(tracker="wandb", tracker_project="p", tracker_run="r", concept="Rust")
    tracker = open_tracker(settings, tmp_path, Warnings())
    tracker.log(1, {"step": 1, "loss": 0.5, "t": 7, "note": "text"})
    tracker.close()
    asked = wandb.asked[0]
    assert (asked["project"], asked["name"], asked["dir"]) == ("p", "r", str(tmp_path))
    assert wandb.rows == [(1, {"loss": 0.5, "t": 7.0})]
    assert wandb.is_finished


def test_a_process_that_wandb_starts_prints_nothing_among_the_results(
    wandb: FakeWandb,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def init(**settings: object) -> FakeWandb:
        subprocess.run([sys.executable, "-c", "print('syncing')"], check=True)
        return wandb

    monkeypatch.setattr(wandb, "init", init)
    open_tracker(config(tracker="wandb"), tmp_path, Warnings()).close()
    print("result", flush=True)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("result\n", "syncing\n")


def test_a_resumed_run_is_the_same_run_in_wandb(wandb: FakeWandb, tmp_path: Path) -> None:
    for _ in range(2):
        open_tracker(config(tracker="wandb"), tmp_path, Warnings()).close()
    first, second = wandb.asked
    assert first["id"] == second["id"]
    assert second["resume"] == "allow"


def test_a_failing_tracker_is_told_once_and_left_out(wandb: FakeWandb, tmp_path: Path) -> None:
    wandb.fault = RuntimeError("the server is away\nand more")
    warnings = Warnings()
    tracker = open_tracker(config(tracker="wandb"), tmp_path, warnings)
    for step in (1, 2, 3):
        tracker.log(step, {"loss": 0.5})
    tracker.close()
    assert warnings.texts == [
        "wandb is left out: RuntimeError: the server is away; log.jsonl holds every step"
    ]


def test_a_missing_library_is_told_with_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    warnings = Warnings()
    open_tracker(config(tracker="wandb"), tmp_path, warnings).log(1, {"loss": 0.5})
    assert "pip install 'esdctl[wandb]'" in warnings.texts[0]


def test_no_tracker_does_nothing(tmp_path: Path) -> None:
    warnings = Warnings()
    tracker = open_tracker(config(), tmp_path, warnings)
    tracker.log(1, {"loss": 0.5})
    tracker.close()
    assert (warnings.texts, list(tmp_path.iterdir())) == ([], [])


def test_tensorboard_writes_its_events_into_the_run(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    tracker = open_tracker(config(tracker="tensorboard"), tmp_path, Warnings())
    tracker.log(1, {"loss": 0.5})
    tracker.close()
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_wandb_offline_writes_into_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    warnings = Warnings()
    tracker = open_tracker(config(tracker="wandb"), tmp_path, warnings)
    tracker.log(1, {"loss": 0.5})
    tracker.close()
    assert warnings.texts == []
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert capsys.readouterr().out == ""
