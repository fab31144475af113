"""A variable ``ESDCTL_...`` that no command reads is named, whatever the command."""

from pathlib import Path

import pytest

from esdctl.cli.app import run

Capture = pytest.CaptureFixture[str]
COMMANDS = [
    ["doctor"],
    ["runs"],
    ["guide", "settings"],
    ["sample", "--prompt", "a dog", "--model", "pocket", "--dry-run", "--no-estimate", "--quiet"],
    ["dataset", "list"],
    ["train", "--concept", "Dogs", "--model", "pocket", "--show-config"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_misspelt_variable_is_named_once_with_the_nearest(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("ESDCTL_ROOT", str(tmp_path))
    monkeypatch.setenv("ESDCTL_TRIAN_LR", "1")
    monkeypatch.setenv("ESDCTL_CACHEDIR", "")  # empty counts as not set
    run(command)
    told = capsys.readouterr()
    sentence = (
        "warning: environment: no command reads ESDCTL_TRIAN_LR; did you mean ESDCTL_TRAIN_LR?"
    )
    assert told.err.splitlines().count(sentence) == 1
    assert "ESDCTL_" not in told.err.replace(sentence, "")
    assert "ESDCTL_TRIAN" not in told.out


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("ESDCTL_TRAIN_LRR", "did you mean ESDCTL_TRAIN_LR?"),
        ("ESDCTL_SAMPL_STEPS", "did you mean ESDCTL_TRAIN_DDIM_STEPS?"),
        ("ESDCTL_ROOTS", "did you mean ESDCTL_ROOT?"),
        ("ESDCTL_TRAIN_LEARNING_RATE", "it is called ESDCTL_TRAIN_LR here"),
    ],
)
def test_what_was_meant_is_said(
    variable: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv(variable, "1")
    assert run(["runs"]) == 0
    assert f"no command reads {variable}; {hint}" in capsys.readouterr().err


def test_what_is_read_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    for name, value in {"ROOT": str(tmp_path), "DEBUG": "0", "TRAIN_LR": "1e-3"}.items():
        monkeypatch.setenv(f"ESDCTL_{name}", value)
    assert run(["runs"]) == 0
    assert "ESDCTL_" not in capsys.readouterr().err


def test_training_refuses_its_own_misspelt_variable_without_naming_it_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("ESDCTL_TRAIN_LRR", "1")
    assert run(["train", "--concept", "Dogs", "--model", "pocket", "--root", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("ESDCTL_TRAIN_LRR") == 1
