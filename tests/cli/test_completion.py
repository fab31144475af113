"""What a shell offers after Tab, and that it costs no torch."""

from pathlib import Path
from typing import get_args

import pytest

from esdctl.cli.app import run
from esdctl.cli.completion import FORMS, SCHEDULERS
from tests.test_layers import HEAVY, loaded_after

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("esdctl ev", ["evaluate"]),
        ("esdctl train --concept Do", ["Dogs"]),
        ("esdctl train --retain Neo", ["Neon_Lines"]),
        ("esdctl train --preset s", ["style"]),
        ("esdctl train --train-method esd-x", ["esd-x", "esd-x-strict"]),
        ("esdctl train --trajectory ", ["exact", "frozen", "rolling"]),
        ("esdctl train --dtype b", ["bf16"]),
        ("esdctl train --resume Dogs", ["Dogs-xattn-0a0a0a0a"]),
        ("esdctl sample --model Dogs", ["Dogs-xattn-0a0a0a0a"]),
        ("esdctl sample --model pock", ["pocket", "pocket-flow"]),
        ("esdctl sample --scheduler d", ["ddim", "dpmsolver++"]),
        ("esdctl evaluate --base pock", ["pocket", "pocket-flow"]),
        ("esdctl export Dogs", ["Dogs-xattn-0a0a0a0a"]),
        ("esdctl export pocket --to lo", ["lora"]),
        ("esdctl apply Dogs", ["Dogs-xattn-0a0a0a0a"]),
        ("esdctl download comp", ["compvis"]),
        ("esdctl verify i2", ["i2p"]),
        ("esdctl dataset fetch ", ["unlearn-canvas", "i2p"]),
        ("esdctl dataset prompts i2p --category sel", ["self-harm"]),
        ("esdctl dataset prompts unlearn-canvas --object Dog", ["Dogs"]),
        ("esdctl sample --steps ", []),
    ],
)
def test_a_shell_offers(
    line: str, offered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = tmp_path / "outputs/runs/Dogs-xattn-0a0a0a0a"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    monkeypatch.setenv("ESDCTL_ROOT", str(tmp_path))
    monkeypatch.setenv("_ESDCTL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
    assert run([]) == 0
    assert capsys.readouterr().out.split() == offered


@pytest.mark.parametrize(
    ("instruction", "words"),
    [
        ("complete_bash", {}),
        ("complete_bash", {"COMP_WORDS": "esdctl tr"}),
        ("complete_bash", {"COMP_WORDS": "esdctl tr", "COMP_CWORD": "one"}),
        ("complete_tcsh", {}),
        ("1", {}),
    ],
)
def test_a_completion_that_no_shell_asks_for_is_a_usage_error(
    instruction: str,
    words: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    for name in ("COMP_WORDS", "COMP_CWORD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"_ESDCTL_COMPLETE": instruction, **words}.items():
        monkeypatch.setenv(name, value)
    assert run(["train", "--help"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert f"error: _ESDCTL_COMPLETE={instruction} asks" in told.err
    assert "unset _ESDCTL_COMPLETE" in told.err


def test_no_completion_loads_torch() -> None:
    code = (
        "from esdctl.cli import app, completion; "
        "[offer('') for offer in completion.COMPLETIONS.values()]"
    )
    assert not loaded_after(code) & HEAVY


def test_the_words_are_those_of_the_commands() -> None:
    from esdctl.models.exports import ExportForm
    from esdctl.sampling.schedulers import Scheduler

    assert get_args(Scheduler) == SCHEDULERS
    assert get_args(ExportForm) == FORMS


def test_installing_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    # Else the shell that runs the tests decides, and there may be none.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    assert run(["--show-completion", "bash"]) == 0
    assert "_ESDCTL_COMPLETE=complete_bash" in capsys.readouterr().out
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(["--install-completion", "bash"]) == 0
    assert "bash completion installed" in capsys.readouterr().out
