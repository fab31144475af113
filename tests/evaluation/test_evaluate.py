"""An evaluation from end to end on a tiny model: what is kept, reused, and reported."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from esdctl.errors import CheckFailed, InputError, Interrupted, UsageError
from esdctl.evaluation.evaluate import Execution, evaluate
from esdctl.evaluation.evaluation_report import EvaluationReport
from esdctl.evaluation.plan import plan_evaluation
from esdctl.evaluation.request import Request
from esdctl.evaluation.thresholds import Thresholds, check_thresholds, check_thresholds_apply
from esdctl.models.resolve import Pipeline
from esdctl.progress import Silent

QUICK = Request(steps=2)


class Log(Silent):
    """Remembers how many pictures each task had left to do, and the notices."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.left: dict[str, int] = {}
        self.notices: list[str] = []
        self._stop_after = stop_after

    def started(self, task: str, total: int, unit: str, done: int = 0) -> None:
        self.left[task] = total - done

    def advanced(self, task: str, done: int, details: str = "") -> None:
        if done == self._stop_after:
            raise KeyboardInterrupt

    def notice(self, text: str) -> None:
        self.notices.append(text)


def run(
    pipeline: Pipeline, folder: Path, log: Log, request: Request = QUICK, batch_size: int = 3
) -> EvaluationReport:
    plan = plan_evaluation(pipeline, request)
    return evaluate(plan, Execution(folder, torch.device("cpu"), batch_size), log)[0]


def test_an_erased_model_is_measured_beside_its_base(
    base: Pipeline, erased: Pipeline, tmp_path: Path
) -> None:
    log = Log()
    report = run(erased, tmp_path, log)
    assert log.left == {"base model": 4, "erased model": 4}
    assert report.base is not None
    assert (report.base.name, report.base.digest) == (base.name, base.digest())
    assert report.model.digest == erased.digest()
    ua = report.model.unlearning["Neon_Lines"].ua
    assert ua is not None
    assert ua.n == 2
    assert len(Path(report.model.rows).read_text().splitlines()) == 4


def test_the_bases_predictions_are_used_again(
    base: Pipeline, erased: Pipeline, tmp_path: Path
) -> None:
    alone = run(base, tmp_path, Log())
    assert (alone.base, alone.model.unlearning) == (None, {})
    log = Log()
    report = run(erased, tmp_path, log)
    assert log.left == {"erased model": 4}
    assert "base model: 4 of 4 pictures were judged before" in log.notices[0]
    assert report.base is not None
    assert report.base.accuracy == alone.model.accuracy


def test_other_settings_share_no_predictions(base: Pipeline, tmp_path: Path) -> None:
    run(base, tmp_path, Log())
    log = Log()
    run(base, tmp_path, log, replace(QUICK, guidance=1.0))
    assert log.left == {"model": 4}


def test_more_seeds_add_pictures_to_those_there(base: Pipeline, tmp_path: Path) -> None:
    run(base, tmp_path, Log())
    log = Log()
    report = run(base, tmp_path, log, replace(QUICK, seeds=(188, 0)))
    assert log.left == {"model": 4}
    assert report.pictures == 8


def test_an_interrupted_evaluation_goes_on_to_the_same_report(
    erased: Pipeline, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted, match="3 of 4"):
        run(erased, tmp_path / "one", Log(stop_after=3))
    log = Log()
    resumed = run(erased, tmp_path / "one", log)
    assert log.left == {"base model": 1, "erased model": 4}
    whole = run(erased, tmp_path / "other", Log(), batch_size=1)
    assert resumed.percent_of_base == whole.percent_of_base
    assert resumed.model.accuracy == whole.model.accuracy


def test_damaged_rows_are_an_input_error(base: Pipeline, tmp_path: Path) -> None:
    report = run(base, tmp_path, Log())
    Path(report.model.rows).write_text("{}\n")
    with pytest.raises(InputError, match="line 1"):
        run(base, tmp_path, Log())


def test_thresholds_compare_with_what_was_measured(erased: Pipeline, tmp_path: Path) -> None:
    report = run(erased, tmp_path, Log())
    check_thresholds(Thresholds(ua=0.0), report)
    with pytest.raises(CheckFailed, match=r"UA of Neon_Lines is .* %, below 101"):
        check_thresholds(Thresholds(ua=101.0), report)


@pytest.mark.parametrize("thresholds", [Thresholds(ua=95), Thresholds(ira=85), Thresholds(cra=90)])
def test_thresholds_of_an_erasure_do_not_suit_a_base(
    thresholds: Thresholds, base: Pipeline
) -> None:
    with pytest.raises(UsageError, match="--min-"):
        check_thresholds_apply(thresholds, plan_evaluation(base, QUICK))


@pytest.mark.parametrize("value", [-1.0, float("nan")])
def test_a_threshold_is_a_percentage(value: float, erased: Pipeline) -> None:
    with pytest.raises(UsageError, match="--min-ua"):
        check_thresholds_apply(Thresholds(ua=value), plan_evaluation(erased, QUICK))
