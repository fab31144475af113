"""A training is as long as its pairs or its steps, whichever the strongest layer names."""

import json
from pathlib import Path
from typing import Any

import pytest

from esdctl.cli.app import run
from esdctl.erasing import erase
from esdctl.erasing.batches import POWER
from esdctl.erasing.chosen_batch import with_chosen_batch
from esdctl.erasing.esd import batch_size as trials
from esdctl.erasing.plan import ErasePlan, plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.errors import Interrupted
from esdctl.models import batch_size as fitting
from esdctl.storage.workspace import Workspace

Captured = pytest.CaptureFixture[str]
STYLE = ["--model", "pocket", "--concept", "Rust", "--preset", "pocket-cold"]  # 64 pairs, 4 a step


def lengths(capsys: Captured, *arguments: str) -> dict[str, tuple[object, str]]:
    """Value and origin of both, by ``--show-config``."""
    assert run(["train", *STYLE, *arguments, "--show-config", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["settings"]
    return {key: (rows[key]["value"], rows[key]["origin"]) for key in ("pairs", "iterations")}


def test_steps_are_pairs_by_the_batch_rounded_up(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quick = ("--ddim-steps=2", "--devices=cpu", "--preset=reference", "--no-contact-sheet")
    asked = ["train", "--concept=Rust", f"--model={tiny_model}", *quick]
    assert run([*asked, "--pairs=5", "--batch-size=2", "--output=run"]) == 0
    assert len(Path("run/log.jsonl").read_text().splitlines()) == 3
    assert run(["verify", "run"]) == 0
    # The file that a run leaves says both; its pairs count, whatever the batch becomes.
    again = ["train", "--config=run/config.yaml", "--batch-size=4", "--output=again"]
    assert run(again) == 0
    assert len(Path("again/log.jsonl").read_text().splitlines()) == 2
    # A run of a time that knew no pairs goes on.
    record = json.loads(Path("again/run.json").read_text())
    record["settings"] = {k: v for k, v in record["settings"].items() if k != "pairs"}
    Path("again/run.json").write_text(json.dumps(record))
    assert run(["train", "--resume=again", "--contact-sheet"]) == 0


def test_the_stronger_layer_decides_how_the_length_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    preset = "preset pocket-cold"
    assert lengths(capsys) == {"pairs": (64, preset), "iterations": (16, "pairs / batch_size")}
    by_flag = {"pairs": (None, "flag"), "iterations": (7, "flag")}
    assert lengths(capsys, "--iterations", "7") == by_flag
    (tmp_path / "esdctl.yaml").write_text("train:\n  iterations: 9\n")
    steps, origin = lengths(capsys)["iterations"]
    assert (steps, origin.endswith("esdctl.yaml")) == (9, True)
    assert lengths(capsys, "--pairs", "10")["iterations"] == (3, "pairs / batch_size")
    edit_alone = ("--warm-start", "--pairs=0")
    assert lengths(capsys, *edit_alone)["iterations"] == (0, "pairs / batch_size")
    (tmp_path / "recorded.yaml").write_text("pairs: 0\niterations: 0\nbatch_size: null\n")
    recorded = ("--config=recorded.yaml", "--warm-start")
    assert lengths(capsys, *recorded)["iterations"] == (0, "pairs / batch_size")


def test_a_length_that_is_said_twice_in_one_place_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", *STYLE, "--pairs", "8", "--iterations", "3"]) == 2
    assert "flag: pairs and iterations are two ways" in capsys.readouterr().err
    monkeypatch.setenv("ESDCTL_TRAIN_PAIRS", "8")
    monkeypatch.setenv("ESDCTL_TRAIN_ITERATIONS", "2")
    assert run(["train", *STYLE, "--show-config"]) == 2
    assert "environment: pairs and iterations" in capsys.readouterr().err
    (tmp_path / "null.yaml").write_text("pairs: null\n")
    monkeypatch.delenv("ESDCTL_TRAIN_PAIRS")
    monkeypatch.delenv("ESDCTL_TRAIN_ITERATIONS")
    assert run(["train", *STYLE, "--config", "null.yaml", "--show-config"]) == 2
    assert "both null" in capsys.readouterr().err


def test_a_rate_of_the_presets_follows_the_batch_and_one_that_is_given_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    for flags, rate, origin in (
        ((), 1e-3, "preset pocket-cold"),
        (("--batch-size=16",), 1e-3 * 4**POWER, "preset pocket-cold, for a batch of 16"),
        (("--batch-size=16", "--lr=1e-3"), 1e-3, "flag"),
        (("--batch-size=16", "--iterations=4"), 1e-3, "preset pocket-cold"),
    ):
        assert run(["train", *STYLE, *flags, "--show-config", "--json"]) == 0
        row = json.loads(capsys.readouterr().out)["settings"]["lr"]
        assert (row["value"], row["origin"]) == (pytest.approx(rate), origin)


def test_a_batch_that_the_machine_chose_is_recorded_with_its_steps_and_rate_and_kept(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["--model", str(tiny_model), "--concept=Rust", "--preset=style", "--pairs=8"]
    quick = ["--ddim-steps=2", "--devices=cpu", "--no-contact-sheet", "--batch-size=auto"]
    assert run(["train", *asked, *quick, "--output=run"]) == 0
    computed = json.loads(Path("run/run.json").read_text())["computed"]
    size = computed["batch_size"]
    assert computed["iterations"] == -(-8 // size)
    assert computed["lr"] == pytest.approx(1e-5 * size**POWER)
    assert run(["verify", "run"]) == 0
    assert run(["runs", "rerun", "run"]) == 0  # equal bit for bit


@pytest.mark.parametrize(
    ("asked", "processes", "size"),
    [
        (("--pairs=40",), 1, 2),
        (("--pairs=40",), 2, 2),  # a team's batch is no larger
        (("--pairs=40",), 3, 3),  # but each process has a row
        (("--pairs=9",), 1, 1),
        (("--pairs=18", "--warm-start", "--no-corpus"), 1, 16),  # few steps do after an edit
        (("--iterations=2",), 1, 16),  # the steps stay
    ],
)
def test_the_machine_chooses_no_batch_that_leaves_too_few_steps(
    asked: tuple[str, ...],
    processes: int,
    size: int,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    def of_so_many(*arguments: Any) -> ErasePlan:
        with_chosen_batch(*arguments[:-1], processes)
        raise Interrupted("chosen", "nothing is trained")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(erase, "with_chosen_batch", of_so_many)
    monkeypatch.setattr(fitting, "free_memory", lambda device: 10**12)
    monkeypatch.setattr(fitting, "peak_growth", lambda device, work: 10**6)
    monkeypatch.setattr(trials, "seconds_of", lambda device, work, enough: 1.0)
    named = ["--model", str(tiny_model), "--concept=Rust", "--preset=style", "--batch-size=auto"]
    quick = ["--ddim-steps=2", "--devices=cpu", "--no-contact-sheet", "--output=run"]
    assert run(["train", *named, *quick, *asked]) == 130
    computed = json.loads(Path("run/run.json").read_text())["computed"]
    assert computed["batch_size"] == size
    assert ("pairs leave 16 steps" in capsys.readouterr().err) == (size < 16)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--batch-size=16",), "64 pairs in batches of 16 are 4 steps"),
        (("--batch-size=16", "--pairs=8"), "--batch-size 1 makes 8"),
        (("--batch-size=4",), None),
        (("--batch-size=16", "--iterations=4"), None),
        (("--batch-size=16", "--warm-start"), None),
        (("--pairs=8",), None),  # the preset's own batch
    ],
)
def test_a_batch_that_leaves_few_steps_is_taken_and_told(
    flags: tuple[str, ...],
    told: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = dict(flag.removeprefix("--").replace("-", "_").partition("=")[::2] for flag in flags)
    settings = {"model": "pocket", "concept": "Rust", **given}
    settings |= {"warm_start": True} if "warm_start" in given else {}
    plan = plan_erase(EraseRequest(settings, preset="pocket-cold"), Workspace(tmp_path))
    assert plan.config.batch_size == int(given.get("batch_size", 4))
    found = [note for note in plan.notes if "embedded model 16 steps" in note]
    assert len(found) == (told is not None)
    assert told is None or told in found[0]
