"""``esdctl evaluate``: the result on stdout, tables on stderr, and thresholds as exit status."""

import json
from pathlib import Path

import pytest
import yaml

from esdctl.cli.app import run
from esdctl.models.resolve import Pipeline

Captured = pytest.CaptureFixture[str]


def command(pipeline: Pipeline, root: Path, *more: str) -> int:
    model = pipeline.delta or pipeline.folder
    known = ["evaluate", "--model", str(model), "--root", str(root), "--steps", "2"]
    return run([*known, *more])


def test_json_goes_to_stdout_and_the_table_to_stderr(
    erased: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    assert command(erased, tmp_path, "--json") == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["targets"] == [{"kind": "style", "name": "Neon_Lines"}]
    assert set(report["unlearning"]["Neon_Lines"]["ua"]) == {"percent", "low", "high", "n"}
    assert set(report["percent_of_base"]["Neon_Lines"]) == {"ira", "cra", "cra_with_target"}
    for name in ("Erasing Neon_Lines", "UA", "IRA", "CRA", "of base", "pictures"):
        assert name in err


def test_without_json_stdout_is_the_path_of_the_figures(
    erased: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    assert command(erased, tmp_path, "--quiet") == 0
    out, err = capsys.readouterr()
    assert Path(out.strip()).is_file()
    assert (tmp_path / "outputs/evaluations") in Path(out.strip()).parents
    assert "pictures" not in err
    assert "UA" not in err


def test_a_base_is_shown_by_concept(base: Pipeline, tmp_path: Path, capsys: Captured) -> None:
    assert command(base, tmp_path, "--output", str(tmp_path / "here")) == 0
    out, err = capsys.readouterr()
    assert (tmp_path / "here") in Path(out.strip()).parents
    for name in ("all styles", "all objects", "Neon_Lines", "Dogs"):
        assert name in err


def test_a_missed_threshold_is_exit_status_1_after_the_result(
    erased: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    assert command(erased, tmp_path, "--min-ua", "101", "--json") == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["count"] == 4
    assert "error: UA of Neon_Lines is" in err


def test_a_dry_run_prints_the_plan_and_makes_nothing(
    erased: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    assert command(erased, tmp_path, "--dry-run", "--seeds", "1,2", "--styles", "Neon_Lines") == 0
    plan = yaml.safe_load(capsys.readouterr().out)
    assert (plan["pictures_a_model"], plan["styles"]) == (4, ["Neon_Lines"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        (("--concept", "Nonsense"), 2, "hint: nearest known: Neon_Lines"),
        (("--batch-size", "0"), 2, "batch-size"),
        (("--seeds", "x"), 2, "--seeds"),
        (("--device", "abacus"), 6, "no device"),
    ],
)
def test_bad_input_has_one_clear_line(
    more: tuple[str, ...], status: int, words: str,
    erased: Pipeline, tmp_path: Path, capsys: Captured,
) -> None:  # fmt: skip
    assert command(erased, tmp_path, *more) == status
    assert words in capsys.readouterr().err


def test_a_missing_run_is_an_input_error(tmp_path: Path) -> None:
    assert run(["evaluate", "--model", str(tmp_path / "none"), "--root", str(tmp_path)]) == 3


def test_another_scheduler_and_a_fitting_batch_are_options(
    base: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    flags = ("--scheduler", "UniPC", "--batch-size", "auto", "--json")
    assert command(base, tmp_path, *flags) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["sampling"]["scheduler"] == "unipc"
    assert "2 unipc steps" in err
