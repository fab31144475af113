"""What holds for the options of every command: once each, and ``~`` is the user's home."""

from pathlib import Path

import pytest

from esdctl.cli.app import run


@pytest.mark.parametrize(
    "line",
    [
        "train --concept Dogs --preset pocket --preset style",
        "train --concept Dogs --lr 1 --lr=1",
        "train --concept Dogs --retain-all --no-retain-all",
        "sample --model pocket --model compvis --prompt x",
        "sample --prompt x -o a --output b",
        "evaluate --model a --model b",
        "export a --to lora --to delta",
        "dataset info i2p --root a --root b",
        "bench load --model a --model a",
    ],
)
def test_a_single_option_that_is_given_twice_is_refused(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == 2
    assert "is given 2 times" in capsys.readouterr().err


def test_options_that_take_many_and_plain_switches_may_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = "sample --prompt a --prompt b --dry-run --no-estimate --quiet --quiet"
    assert run(line.split()) == 0


@pytest.mark.parametrize(
    "line",
    [
        "train --concept Dogs --output ~nobody-here/x",
        "train --config ~nobody-here/x.yaml",
        "train --concept Dogs --root ~nobody-here",
        "sample --prompts ~nobody-here/x.txt",
        "inspect ~nobody-here/x.safetensors",
        "download compvis --catalog ~nobody-here/x.yaml",
    ],
)
def test_a_home_of_nobody_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*line.split(), "--quiet"] if "inspect" not in line else line.split()) == 2
    assert "~nobody-here" in capsys.readouterr().err


def test_a_tilde_that_no_shell_has_expanded_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    line = ["sample", "--prompt", "a", "--steps", "1", "--output=~/pictures", "--quiet"]
    assert run(line) == 0
    assert len(list((tmp_path / "home/pictures").glob("*.png"))) == 1
    assert not (tmp_path / "~").exists()
