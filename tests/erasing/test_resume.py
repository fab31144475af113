"""A run that is stopped, in any way, and resumed ends bit-equal to one that was not."""

import json
import random
import signal
import time
from contextlib import chdir
from pathlib import Path

import pytest

from esdctl.cli.app import run
from tests.warm import Process, Warm

STEPS = 20
RESUME = ["train", "--resume", "run", "--devices", "cpu"]
Captured = pytest.CaptureFixture[str]


def command(model: Path, *arguments: str, output: str = "run") -> list[str]:
    return [
        "train", "--model", str(model), "--concept", "Rust", "--preset", "reference",
        "--train-method", "xattn", "--iterations", str(STEPS), "--ddim-steps", "4", "--lr", "1e-3",
        "--save-every", "3", "--devices", "cpu", "--output", output, *arguments,
    ]  # fmt: skip


def rows(folder: Path) -> list[dict[str, object]]:
    log = folder / "log.jsonl"
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    return [json.loads(line) for line in lines]


def stop_after(process: Process, folder: Path, steps: int, number: int) -> None:
    """Send a signal as soon as the log shows so many steps; the run must not end before."""
    deadline = time.monotonic() + 120
    while len(rows(folder)) < steps and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.poll() is None, process.stderr
    process.send_signal(number)


@pytest.fixture(scope="module")
def unbroken(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    with chdir(folder):
        assert run(command(tiny_model)) == 0
    return folder / "run"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def same_result(folder: Path, unbroken: Path) -> None:
    for name in ("delta.safetensors", "contact_sheet.png"):
        assert (folder / name).read_bytes() == (unbroken / name).read_bytes(), name
    log, expected = (
        [(row["step"], row["t"], row["loss"]) for row in rows(each)] for each in (folder, unbroken)
    )
    assert log == expected
    assert not list(folder.rglob("*partial*"))


@pytest.mark.parametrize("seed", range(2))
def test_a_run_killed_at_random_points_ends_bit_equal(
    seed: int, unbroken: Path, tiny_model: Path, tmp_path: Path, warm: Warm, capsys: Captured
) -> None:
    # Not the last steps: a kill must find the run at work.
    kills = sorted(random.Random(seed).sample(range(1, STEPS - 5), 2))
    for steps in kills:
        process = warm.start(*command(tiny_model), cwd=tmp_path)
        stop_after(process, tmp_path / "run", steps, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    capsys.readouterr()
    assert run(RESUME) == 0
    assert capsys.readouterr().out == "run\n"
    same_result(tmp_path / "run", unbroken)


def test_a_killed_run_that_began_with_an_edit_ends_bit_equal(
    tiny_model: Path, tmp_path: Path, warm: Warm
) -> None:
    edited = ("--warm-start", "--retain", "Dogs", "--trajectory", "rolling")
    assert run(command(tiny_model, *edited, output="whole")) == 0
    process = warm.start(*command(tiny_model, *edited), cwd=tmp_path)
    stop_after(process, tmp_path / "run", 8, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert run(command(tiny_model, *edited)) == 0
    for name in ("delta.safetensors", "contact_sheet.png"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_tells_how_to_go_on_and_ends_bit_equal(
    number: int, unbroken: Path, tiny_model: Path, tmp_path: Path, warm: Warm
) -> None:
    process = warm.start(*command(tiny_model), cwd=tmp_path)
    stop_after(process, tmp_path / "run", 7, number)
    assert process.wait() == 130
    assert process.stdout == ""
    assert "esdctl train --resume run" in process.stderr
    saved = max(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert saved == f"step-{len(rows(tmp_path / 'run')):07d}.pt"
    # the same command goes on as --resume does
    assert run(command(tiny_model)) == 0
    same_result(tmp_path / "run", unbroken)


def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(
    unbroken: Path, tiny_model: Path, tmp_path: Path, warm: Warm, capsys: Captured
) -> None:
    process = warm.start(*command(tiny_model), cwd=tmp_path)
    stop_after(process, tmp_path / "run", 8, signal.SIGKILL)
    process.wait()
    newest = max((tmp_path / "run/checkpoints").glob("step-*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    capsys.readouterr()
    assert run(RESUME) == 3
    told = capsys.readouterr().err
    assert newest.name in told
    assert "Traceback" not in told
    newest.unlink()
    assert run(RESUME) == 0
    same_result(tmp_path / "run", unbroken)


def test_resume_refuses_other_settings(unbroken: Path, capsys: Captured) -> None:
    assert run(["train", "--resume", str(unbroken), "--lr", "1"]) == 2
    assert "--lr" in capsys.readouterr().err
