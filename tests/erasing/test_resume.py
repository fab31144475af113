"""A run that is stopped, in any way, and resumed ends bit-equal to one that was not."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STEPS = 40


def command(model: Path, *arguments: str) -> list[str]:
    return [
        sys.executable, "-m", "esdctl", "train", "--model", str(model), "--concept", "Rust",
        "--preset", "reference", "--train-method", "xattn", "--iterations", str(STEPS),
        "--ddim-steps", "4", "--lr", "1e-3", "--save-every", "3", "--devices", "cpu", *arguments,
    ]  # fmt: skip


def rows(run: Path) -> list[dict[str, object]]:
    log = run / "log.jsonl"
    lines = log.read_text().split("\n")[:-1] if log.exists() else []
    return [json.loads(line) for line in lines]


def stop_after(process: subprocess.Popen[bytes], run: Path, steps: int, number: int) -> None:
    """Send a signal as soon as the log shows so many steps; the run must not end before."""
    deadline = time.monotonic() + 120
    while len(rows(run)) < steps and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.poll() is None
    process.send_signal(number)


@pytest.fixture(scope="module")
def unbroken(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    subprocess.run(
        command(tiny_model, "--output", "run"), cwd=folder, check=True, capture_output=True
    )
    return folder / "run"


def same_result(run: Path, unbroken: Path) -> None:
    for name in ("delta.safetensors", "contact_sheet.png"):
        assert (run / name).read_bytes() == (unbroken / name).read_bytes(), name
    log, expected = (
        [(row["step"], row["t"], row["loss"]) for row in rows(folder)] for folder in (run, unbroken)
    )
    assert log == expected
    assert not list(run.rglob("*partial*"))


@pytest.mark.parametrize("seed", range(2))
def test_a_run_killed_at_random_points_ends_bit_equal(
    seed: int, unbroken: Path, tiny_model: Path, tmp_path: Path
) -> None:
    # Not the last steps: a kill must find the run at work.
    kills = sorted(random.Random(seed).sample(range(1, STEPS - 8), 2))
    arguments = ["--output", "run"]
    for steps in kills:
        process = subprocess.Popen(
            command(tiny_model, *arguments), cwd=tmp_path, stderr=subprocess.DEVNULL
        )
        stop_after(process, tmp_path / "run", steps, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    resumed = [sys.executable, "-m", "esdctl", "train", "--resume", "run", "--devices", "cpu"]
    done = subprocess.run(resumed, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "run\n"
    same_result(tmp_path / "run", unbroken)


def test_a_killed_run_that_began_with_an_edit_ends_bit_equal(
    tiny_model: Path, tmp_path: Path
) -> None:
    warm = ("--warm-start", "--retain", "Dogs", "--trajectory", "rolling")
    whole = command(tiny_model, *warm, "--output", "whole")
    subprocess.run(whole, cwd=tmp_path, check=True, capture_output=True)
    broken = command(tiny_model, *warm, "--output", "run")
    process = subprocess.Popen(broken, cwd=tmp_path, stderr=subprocess.DEVNULL)
    stop_after(process, tmp_path / "run", 8, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    subprocess.run(broken, cwd=tmp_path, check=True, capture_output=True)
    for name in ("delta.safetensors", "contact_sheet.png"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_saves_tells_how_to_go_on_and_ends_bit_equal(
    number: int, unbroken: Path, tiny_model: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        command(tiny_model, "--output", "run"), cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    stop_after(process, tmp_path / "run", 7, number)
    out, err = process.communicate()
    assert process.returncode == 130
    assert out == ""
    assert "esdctl train --resume run" in err
    saved = max(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert saved == f"step-{len(rows(tmp_path / 'run')):07d}.pt"
    # the same command goes on as --resume does
    subprocess.run(
        command(tiny_model, "--output", "run"), cwd=tmp_path, check=True, capture_output=True
    )
    same_result(tmp_path / "run", unbroken)


def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(
    unbroken: Path, tiny_model: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        command(tiny_model, "--output", "run"), cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    stop_after(process, tmp_path / "run", 8, signal.SIGKILL)
    process.wait()
    newest = max((tmp_path / "run/checkpoints").glob("step-*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    resume = [sys.executable, "-m", "esdctl", "train", "--resume", "run"]
    refused = subprocess.run(resume, cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 3
    assert newest.name in refused.stderr
    assert "Traceback" not in refused.stderr
    newest.unlink()
    subprocess.run(resume, cwd=tmp_path, check=True, capture_output=True)
    same_result(tmp_path / "run", unbroken)


def test_resume_refuses_other_settings(unbroken: Path, tmp_path: Path) -> None:
    resume = [sys.executable, "-m", "esdctl", "train", "--resume", str(unbroken), "--lr", "1"]
    done = subprocess.run(resume, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--lr" in done.stderr
