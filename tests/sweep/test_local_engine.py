"""``esdctl sweep run`` on this machine: all is done, whatever dies, and once."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from esdctl.cli.app import run
from tests.sweep.conftest import PROTOCOL, outcomes, run_esdctl


def test_results_have_a_line_a_job_and_a_mean_a_kind(manifest: Path, swept: Path) -> None:
    done = run_esdctl("sweep", "results", manifest, "--csv", "--root", swept)
    head, *rows = done.stdout.splitlines()
    assert head.startswith("job,concept,kind,run,protocol,judge,ua,ira,cra")
    assert [row.split(",")[1:3] for row in rows] == [["Mosaic", "style"], ["Dogs", "object"]]
    means = run_esdctl("sweep", "results", manifest, "--root", swept)
    lines = [line.split("\t") for line in means.stdout.splitlines()]
    assert [line[:3] for line in lines] == [["style", "", "1"], ["object", "", "1"]]
    assert "four-pictures v1" in means.stderr


def test_finished_jobs_are_not_done_again(manifest: Path, swept: Path) -> None:
    attempts = sorted(swept.glob("outputs/sweep/*/*/attempts.jsonl"))
    before = [path.read_bytes() for path in attempts]
    done = run_esdctl("sweep", "run", manifest, "--root", swept)
    assert done.returncode == 0
    paths = [Path(line) for line in done.stdout.splitlines()]
    assert len(paths) == 2
    assert all(path.is_file() for path in paths)
    assert [path.read_bytes() for path in attempts] == before


def test_watching_ends_when_all_is_done_and_variables_of_train_are_named(
    manifest: Path, swept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ESDCTL_TRAIN_LR", "1")
    assert run(["sweep", "run", str(manifest), "--root", str(swept)]) == 0
    said = capsys.readouterr().err
    assert "ESDCTL_TRAIN_LR (environment) is not used: the manifest holds the settings" in said
    assert run(["sweep", "status", str(manifest), "--watch", "--root", str(swept)]) == 0
    assert "sweep: done in" in capsys.readouterr().err


def test_watching_follows_a_sweep_to_its_end(
    manifest: Path, swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {path.relative_to(swept): path for path in swept.glob("outputs/sweep/*/*/result.json")}
    looks = []

    def meanwhile(seconds: float) -> None:
        """In place of each wait another job is done."""
        looks.append(seconds)
        name, result = found.popitem()
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(result, tmp_path / name)

    monkeypatch.setattr("esdctl.cli.sweep.time.sleep", meanwhile)
    assert run(["sweep", "status", str(manifest), "--watch", "--root", str(tmp_path)]) == 0
    assert len(looks) == 2


def test_status_and_page_tell_of_all_jobs(manifest: Path, swept: Path, tmp_path: Path) -> None:
    status = run_esdctl("sweep", "status", manifest, "--json", "--root", swept)
    assert json.loads(status.stdout)["counts"]["finished"] == 2
    page = tmp_path / "page.html"
    made = run_esdctl("sweep", "report", manifest, "-o", page, "--root", swept)
    assert made.stdout == f"{page}\n", made.stderr
    text = page.read_text()
    for folder in (tmp_path / "page-runs").iterdir():
        assert f'href="page-runs/{folder.name}"' in text
    assert text.count('href="page-runs/') == 2


@pytest.mark.slow
def test_a_sweep_goes_on_after_its_worker_and_itself_were_killed(
    manifest: Path, swept: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "esdctl", "sweep", "run", str(manifest), "--quiet"]
    sweep = subprocess.Popen([*command, "--root", str(tmp_path)], stdout=subprocess.DEVNULL)
    first = _wait_for_an_attempt(tmp_path, 1)
    os.kill(first, signal.SIGKILL)  # another worker takes over
    second = _wait_for_an_attempt(tmp_path, 2)
    assert second != first
    sweep.kill()
    sweep.wait()
    _wait_until_gone(second)  # it notices that nobody holds its stdin
    done = run_esdctl("sweep", "run", manifest, "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert outcomes(manifest, tmp_path) == outcomes(manifest, swept)


def _wait_for_an_attempt(root: Path, count: int) -> int:
    """The process of the attempt of that number, counted over all jobs."""
    while True:
        rows = [
            json.loads(line)
            for path in root.glob("outputs/sweep/*/*/attempts.jsonl")
            for line in path.read_text().splitlines()
        ]
        begun = sorted((row["began"], row["worker"]) for row in rows if row["end"] is None)
        if len(begun) >= count:
            return int(begun[-1][1].rsplit("-", 1)[1])
        time.sleep(0.05)


def _wait_until_gone(process: int) -> None:
    while Path(f"/proc/{process}/stat").is_file():
        if Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.05)


def test_a_job_that_keeps_failing_is_given_up_with_its_log(
    tiny_model: Path, tmp_path: Path
) -> None:
    model, manifest = tmp_path / "model", tmp_path / "sweep.jsonl"
    shutil.copytree(tiny_model, model)
    plan = ["sweep", "plan", "--concept", "Mosaic", "--no-evaluate", "--set", "iterations=1"]
    assert run_esdctl(*plan, "--model", model, "-o", manifest).returncode == 0
    shutil.rmtree(model)
    run = ("sweep", "run", manifest, "--max-attempts", "2", "--root", tmp_path)
    done = run_esdctl(*run)
    assert done.returncode == 1
    assert "1 of 1 jobs failed; Mosaic" in done.stderr
    logs = sorted(tmp_path.glob("outputs/sweep/*/*/attempt-*.log"))
    assert [log.name for log in logs] == ["attempt-1.log", "attempt-2.log"]
    assert str(model) in logs[-1].read_text()
    assert run_esdctl(*run).returncode == 1  # and is not tried a third time
    assert len(list(tmp_path.glob("outputs/sweep/*/*/attempt-*.log"))) == 2


def test_a_protocol_that_was_edited_after_planning_is_refused(tmp_path: Path) -> None:
    protocol, manifest = tmp_path / "own.yaml", tmp_path / "sweep.jsonl"
    protocol.write_text(PROTOCOL.read_text())
    plan = ["sweep", "plan", "--concept", "Mosaic", "--model", "pocket", "--protocol", protocol]
    assert run_esdctl(*plan, "-o", manifest).returncode == 0
    protocol.write_text(protocol.read_text().replace("steps: 2", "steps: 3"))
    done = run_esdctl("sweep", "run", manifest, "--max-attempts", "1", "--root", tmp_path)
    assert done.returncode == 1
    assert "own.yaml is not what it was when the sweep was planned" in done.stderr
    assert not list(tmp_path.glob("outputs/runs/*"))
