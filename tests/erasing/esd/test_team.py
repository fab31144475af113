"""One erasure by several processes that torchrun starts: the rows of each step are shared."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from esdctl.cli.app import run
from esdctl.erasing.esd.team import Team
from esdctl.errors import UsageError

TORCHRUN = [
    sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
    "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "-m", "esdctl",
]  # fmt: skip


def train(model: Path, output: Path, *more: str) -> list[str]:
    """Three rows a step, so that two processes have unlike parts."""
    return [
        "train", "--model", str(model), "--concept", "Rust", "--method", "edit+esd",
        "--no-corpus", "--no-retain-all", "--retain", "Cats", "--trajectory", "rolling",
        "--pool-size", "5", "--ddim-steps", "4", "--batch-size", "3", "--lr", "1e-4",
        "--save-every", "2", "--no-contact-sheet", "--devices", "cpu", "--output", str(output),
        *(more or ("--iterations", "4")),
    ]  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def same(run_: Path, other: Path) -> None:
    mine, its = (load_file(folder / "delta.safetensors") for folder in (run_, other))
    gaps = torch.cat([(mine[name] - value).abs().flatten() for name, value in its.items()])
    # Four steps of Adam move each value by up to 4e-4; where a gradient is nearly 0, rounding
    # decides its sign.
    assert gaps.mean() < 4e-5
    log, expected = (
        [json.loads(line) for line in (folder / "log.jsonl").open()] for folder in (run_, other)
    )
    assert [row.get("t") for row in log] == [row.get("t") for row in expected]
    assert log[1]["loss"] == pytest.approx(expected[1]["loss"], rel=1e-5)
    for row, wanted in zip(log[1:], expected[1:], strict=True):
        assert row["loss"] == pytest.approx(wanted["loss"], rel=1e-2)
        assert row["retain_loss"] == pytest.approx(wanted["retain_loss"], rel=1e-2)


def test_two_processes_end_where_one_does_and_one_goes_on_with_their_run(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(train(tiny_model, one)) == 0
    capfd.readouterr()
    command = [*TORCHRUN, *train(tiny_model, two)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{two}\n"
    assert done.stderr.count("train: 0/4 steps") == 1
    same(two, one)
    record = json.loads((two / "run.json").read_text())
    assert record["computed"]["devices"] == ["cpu", "cpu"]

    half = tmp_path / "half"  # as if both had stopped after two steps
    shutil.copytree(two, half)
    for name in ("delta.safetensors", ".esdctl-manifest.json", "checkpoints/step-0000004.pt"):
        (half / name).unlink()
    assert run(["train", "--resume", str(half)]) == 0
    assert "was on cpu, cpu and goes on on cpu" in capfd.readouterr().err
    same(half, one)


def test_a_probe_of_the_first_ends_both_and_what_was_erased_before_is_looked_at_once(
    tmp_path: Path,
) -> None:
    before, output = tmp_path / "before", tmp_path / "run"
    edit = ["--model", "pocket", "--concept", "Dogs", "--method", "edit", "--devices", "cpu"]
    assert run(["train", *edit, "--output", str(before)]) == 0
    command = [
        "train", "--model", str(before), "--concept", "Mosaic", "--method", "esd",
        "--iterations", "100", "--batch-size", "2", "--ddim-steps", "2", "--devices", "cpu",
        "--until", "UA>=0", "--probe-every", "2", "--no-contact-sheet", "--output", str(output),
    ]  # fmt: skip
    done = subprocess.run(
        [*TORCHRUN, *command], env=environment(), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{output}\n"
    rows = [json.loads(line) for line in (output / "log.jsonl").open()]
    assert [row["step"] for row in rows] == [1, 2, 2]
    assert rows[-1]["probe"] == "UA>=0"
    assert done.stderr.count("after step 2: UA") == 1
    assert done.stderr.count("Dogs (erased before): UA") == 1
    found = json.loads((output / "earlier.json").read_text())
    assert [row["concept"] for row in found["concepts"]] == ["Dogs", "Mosaic"]


def test_ctrl_c_ends_both_with_the_state_saved(tiny_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    command = [*TORCHRUN, *train(tiny_model, output, "--iterations", "100000")]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(command, env=environment(), stdout=said, stderr=said)
        log = output / "log.jsonl"
        while process.poll() is None and (not log.exists() or len(log.open().readlines()) < 3):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait() != 0
    told = (tmp_path / "said").read_text()
    assert told.count("the state is saved") == 1
    assert "exitcode  : 130" in told or "death signal" in told
    steps = len(log.open().readlines()) - 1  # the first row is the edit's
    assert (output / "checkpoints" / f"step-{steps:07d}.pt").exists()


def test_a_process_that_is_killed_ends_the_other_and_the_run_goes_on(
    tiny_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    command = [*TORCHRUN, *train(tiny_model, output, "--iterations", "12")]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    checkpoints = output / "checkpoints"
    while process.poll() is None and not list(checkpoints.glob("step-*.pt")):
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children()
    workers[-1].kill()
    assert process.wait() != 0
    assert not any(worker.is_running() for worker in workers)
    assert not (output / "delta.safetensors").exists()
    resumed = [*TORCHRUN, "train", "--resume", str(output)]
    subprocess.run(resumed, env=environment(), check=True, capture_output=True)
    rows = [json.loads(line)["step"] for line in (output / "log.jsonl").open()]
    assert rows[-12:] == list(range(1, 13))
    assert run(["verify", str(output)]) == 0


def test_rows_are_divided_evenly_and_wholly() -> None:
    for size in (1, 2, 3, 5):
        parts = [list(range(7))[Team(rank, size).rows(7)] for rank in range(size)]
        assert list(chain(*parts)) == list(range(7))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("method", "batch_size"), [("edit", None), ("esd", 1)])
def test_what_cannot_be_shared_is_refused(method: str, batch_size: int | None) -> None:
    with pytest.raises(UsageError, match="2 processes") as refused:
        Team(0, 2).check(method, batch_size)
    assert "torchrun" in refused.value.hint
    Team().check(method, batch_size)


@pytest.mark.parametrize("named", ["0", "0,1", "cuda:1", "cpu,cpu"])
def test_a_team_has_its_own_devices(named: str) -> None:
    with pytest.raises(UsageError, match="each process has the one of its own number"):
        Team(1, 2, 1).devices(named)
    assert Team(1, 2, 1).devices("cpu") == (torch.device("cpu"),)
