"""``esdctl compare``: erasures side by side under one protocol, and demands as exit status."""

import json
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.models.resolve import Pipeline

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def workspace(base: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two erasures of the tiny model, evaluated under the same changed protocol."""
    root = tmp_path_factory.mktemp("compared")
    for name, rate in (("mild", "1e-6"), ("harsh", "1e-1")):
        train = [
            "train", "--model", str(base.folder), "--concept", "Mosaic", "--preset", "reference",
            "--ddim-steps", "2", "--iterations", "1", "--lr", rate, "--device", "cpu",
            "--no-contact-sheet", "--output", str(root / "outputs/runs" / name), "--quiet",
        ]  # fmt: skip
        assert run(train) == 0
        measure = ["evaluate", "--model", str(root / "outputs/runs" / name), "--steps", "1"]
        assert run([*measure, "--root", str(root), "--quiet"]) == 0
    return root


def compare(root: Path, *more: str) -> int:
    return run(["compare", "mild", "harsh", "--root", str(root), *more])


def test_a_line_a_run_goes_to_stdout_and_the_table_to_stderr(
    workspace: Path, capsys: Captured
) -> None:
    capsys.readouterr()
    assert compare(workspace) == 0
    out, err = capsys.readouterr()
    lines = [line.split("\t") for line in out.splitlines()]
    assert [(line[0], line[1], len(line)) for line in lines] == [
        ("mild", "Mosaic", 6),
        ("harsh", "Mosaic", 6),
    ]
    assert "pocket v1, changed: steps 1" in err


def test_differences_are_paired_with_the_first_run(workspace: Path, capsys: Captured) -> None:
    capsys.readouterr()
    assert compare(workspace, "--json", "--quiet") == 0
    first, second = json.loads(capsys.readouterr().out)["rows"]
    assert first["ira_difference"] is None
    assert second["ira_difference"]["n"] == second["cra_difference"]["n"] == 2
    assert first["ua"]["n"] == 2


@pytest.mark.parametrize(("demand", "status"), [("UA=0", 0), ("UA=101", 1), ("ATTACKED=1", 1)])
def test_demands_are_exit_status_1_after_the_result(
    demand: str, status: int, workspace: Path, capsys: Captured
) -> None:
    capsys.readouterr()
    assert compare(workspace, "--fail-under", demand) == status
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("demand", ["UA", "UA=x", "BEAUTY=3", "UA=-1", ""])
def test_a_demand_that_says_nothing_is_a_usage_error(demand: str, workspace: Path) -> None:
    assert compare(workspace, "--fail-under", demand) == 2


def test_the_trade_off_is_drawn(workspace: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    assert compare(workspace, "-o", str(plot), "--quiet") == 0
    drawn = plot.read_text()
    assert drawn.startswith("<svg") or "<svg" in drawn[:400]
    assert "mild" in drawn


def test_without_a_protocol_in_common_all_that_there_is_is_said(
    workspace: Path, capsys: Captured
) -> None:
    capsys.readouterr()
    assert compare(workspace, "--protocol", "unlearn-canvas") == 3
    err = capsys.readouterr().err
    assert "mild: pocket v1" in err
    assert "esdctl evaluate" in err
