"""``esdctl.yaml`` in the workspace is found by itself; a file that is named covers it."""

import json
from pathlib import Path

import pytest

from esdctl.cli.app import run

LINE = ["train", "--concept", "Rust", "--model", "pocket", "--show-config", "--json"]


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shown(capsys: pytest.CaptureFixture[str], key: str) -> object:
    return json.loads(capsys.readouterr().out)["settings"][key]


def test_the_workspaces_file_is_used_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("esdctl.yaml").write_text("train:\n  lr: 2e-5\n  devices: 0\n")
    assert run(LINE) == 0
    assert shown(capsys, "lr") == {"value": 2e-5, "origin": "file esdctl.yaml"}
    assert run([*LINE[:-2], "--dry-run", "--no-estimate", "--json"]) == 0
    assert "settings of esdctl.yaml: lr, devices" in json.loads(capsys.readouterr().out)["notes"]


def test_it_lies_in_the_root_whatever_the_current_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("there").mkdir()
    Path("there/esdctl.yaml").write_text("train: {seed: 5}\n")
    Path("esdctl.yaml").write_text("train: {seed: 6}\n")
    assert run([*LINE, "--root", "there"]) == 0
    assert shown(capsys, "seed") == {"value": 5, "origin": "file there/esdctl.yaml"}


def test_a_file_that_is_named_covers_it_whole(capsys: pytest.CaptureFixture[str]) -> None:
    Path("esdctl.yaml").write_text("train: {seed: 6, lr: 1}\n")
    Path("own.yaml").write_text("seed: 7\n")
    assert run([*LINE, "--config", "own.yaml"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["lr"]["value"] != 1
    assert run([*LINE, "--config", "esdctl.yaml"]) == 0
    assert shown(capsys, "seed") == {"value": 6, "origin": "file esdctl.yaml"}


def test_a_named_file_may_have_sections_too(capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.yaml").write_text("train:\n  seed: 7\n")
    assert run([*LINE, "--config", "own.yaml"]) == 0
    assert shown(capsys, "seed") == {"value": 7, "origin": "file own.yaml"}


@pytest.mark.parametrize("text", ["", "train:\n", "# nothing yet\n"])
def test_an_empty_one_says_nothing(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("esdctl.yaml").write_text(text)
    assert run(LINE) == 0
    assert shown(capsys, "seed") == {"value": 0, "origin": "default"}


@pytest.mark.parametrize(
    ("text", "status", "told"),
    [
        ("lr: 1e-5\n", 2, "the keys of train go below a line `train:`"),
        ("trian:\n  lr: 1e-5\n", 2, "did you mean train?"),
        ("train:\n  learning_rat: 1\n", 2, "unknown key learning_rat"),
        ("train:\n  iteration: 1\n", 2, "did you mean iterations?"),
        ("train: fast\n", 3, "the section train has no `key: value` lines"),
        ("train:\n  lr: 1\n  lr: 2\n", 3, "line 3"),
        ("- train\n", 3, "expected `key: value` lines"),
    ],
)
def test_what_it_says_wrong_is_told(
    text: str, status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("esdctl.yaml").write_text(text)
    assert run(LINE) == status
    assert told in capsys.readouterr().err


def test_two_of_them_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("esdctl.yaml").write_text("")
    Path("esdctl.yml").write_text("")
    assert run(LINE) == 3
    assert "keep one of them" in capsys.readouterr().err


def test_check_reads_its_section(capsys: pytest.CaptureFixture[str]) -> None:
    Path("esdctl.yaml").write_text("train:\n  lr: 2e-5\n")
    assert run(["config", "check", "esdctl.yaml"]) == 0
    assert "means    Learning rate of Adam.\n    becomes  lr: 2e-05" in capsys.readouterr().out
