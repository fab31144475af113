"""Erasing one more from an erased model: a probe looks at what was erased before."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.evaluation import earlier

Train = Callable[..., int]
EDIT = ("--method", "edit", "--iterations", "0", "--no-corpus")


@pytest.fixture
def few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earlier, "PICTURES", 2)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("few_pictures")
def test_after_a_training_ua_of_each_concept_is_told_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pocket = ["train", "--no-contact-sheet", "--devices", "cpu", "--output"]
    Path("names.csv").write_text("name,prompt\nteapot,a photo of a teapot\n", encoding="utf-8")
    first = ["--model", "pocket", "--method", "edit", "--concept", "Dogs"]
    assert run([*pocket, "one", *first, "--concepts", "names.csv"]) == 0
    assert not Path("one/earlier.json").exists()
    more = ["--model", "one", "--concept", "Mosaic", "--method", "esd", "--iterations", "1"]
    assert run([*pocket, "two", *more, "--batch-size", "1", "--ddim-steps", "1", "--json"]) == 0
    found = json.loads(Path("two/earlier.json").read_bytes())
    dogs, mosaic = found["concepts"]
    assert (dogs["concept"], dogs["erased"]) == ("Dogs", "before")
    assert (mosaic["concept"], mosaic["erased"]) == ("Mosaic", "now")
    assert dogs["pictures"] == mosaic["pictures"] == 2
    assert dogs["ua"] == 100
    assert "knows no concept 'teapot'" in found["not_judged"]["teapot"]
    out, err = capsys.readouterr()
    assert json.loads(out[out.index("{") :])["earlier"].endswith("earlier.json")
    assert "Dogs (erased before): UA 100 % on 2 pictures" in " ".join(err.split())
    assert run(["verify", "two"]) == 0
    damaged = Path("two/earlier.json")
    damaged.write_text(damaged.read_text(encoding="utf-8").replace("100", "99"), encoding="utf-8")
    assert run(["verify", "two"]) == 1


def test_a_model_without_a_judge_says_which_command_would_judge_it(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*EDIT, "--output", "one", concept="Dogs") == 0
    assert train(*EDIT, "--model", "one", "--output", "two", concept="Rust") == 0
    err = said(capsys)
    assert "nothing judges what was erased before (Dogs)" in err
    assert "esdctl evaluate --model two --judge NAME" in err
    assert not Path("two/earlier.json").exists()


def test_who_does_not_want_it_hears_nothing_of_it(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*EDIT, "--output", "one", concept="Dogs") == 0
    more = ("--model", "one", "--output", "two", "--no-probe-earlier")
    assert train(*EDIT, *more, concept="Rust") == 0
    assert "erased before" not in said(capsys)


def test_where_nothing_was_erased_before_the_wish_is_not_used(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*EDIT, "--probe-earlier", "--dry-run", concept="Dogs") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "probe_earlier is not used: nothing was erased" in out


def test_a_full_size_model_on_a_cpu_is_looked_at_only_if_that_is_wished(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(earlier, "is_full_size", lambda denoiser: True)
    monkeypatch.setattr(earlier, "_planned", lambda plan, names, models: ({}, {}))
    assert train(*EDIT, "--output", "one", concept="Dogs") == 0
    assert train(*EDIT, "--model", "one", "--output", "two", concept="Rust") == 0
    assert "takes a CPU minutes; esdctl evaluate --model two does" in said(capsys)
    wished = ("--model", "one", "--output", "three", "--probe-earlier")
    assert train(*EDIT, *wished, concept="Rust") == 0
    assert Path("three/earlier.json").is_file()
