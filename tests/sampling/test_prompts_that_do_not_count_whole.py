"""Prompts that are empty or too long are sampled, and that is said."""

from pathlib import Path

import pytest

from esdctl.cli.app import run

Capture = pytest.CaptureFixture[str]
QUICK = ("--steps", "1", "--device", "cpu")


def test_what_is_cut_of_a_long_prompt_is_told(
    tiny_model: Path, tmp_path: Path, capsys: Capture
) -> None:
    long = " ".join(["dog"] * 80 + ["cat"])
    line = ["sample", "--model", str(tiny_model), "--root", str(tmp_path), *QUICK]
    assert run([*line, "--prompt", long, "--prompt", "a dog"]) == 0
    told = capsys.readouterr().err
    assert "a prompt of 83 tokens is cut at 77" in told
    assert "cat" in told
    assert told.count("is cut at") == 1


def test_an_empty_cell_is_sampled_as_an_empty_prompt_unless_that_is_refused(
    tiny_model: Path, tmp_path: Path, capsys: Capture
) -> None:
    table = tmp_path / "i2p.csv"
    table.write_text('prompt,seed\na dog,1\n"",2\n')
    line = ["sample", "--model", str(tiny_model), "--root", str(tmp_path), *QUICK]
    assert run([*line, "--prompts", str(table)]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "1 row has no prompt (the first is row 2)" in captured.err
    assert run([*line, "--prompts", str(table), "--refuse-empty"]) == 3
    assert "row 2 has no prompt" in capsys.readouterr().err
