"""Training ends where a probe measures what was asked for, and what the probe costs is told."""

import json
from pathlib import Path

import pytest

from esdctl.erasing.until import Probed, end_rule, parse_until
from esdctl.errors import UsageError
from esdctl.progress import Silent


class Falling:
    """A probe whose UA rises by 40 points a measurement."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, least: float) -> Probed:
        self.calls += 1
        ua = 40.0 * self.calls
        return Probed(ua, 5, ua >= least)


@pytest.mark.parametrize(
    ("text", "least"), [("UA>=99", 99.0), ("ua >= 95.5 %", 95.5), ("UA>=100", 100.0)]
)
def test_a_condition_names_the_least_ua(text: str, least: float) -> None:
    assert parse_until(text) == least


@pytest.mark.parametrize("text", ["", "UA", "UA>99", "UA>=101", "IRA>=90", "UA>=9 and IRA>=9"])
def test_a_condition_that_training_could_not_reach_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="until"):
        parse_until(text)


def test_a_probe_is_asked_every_so_many_steps_and_its_cost_is_logged(tmp_path: Path) -> None:
    probe, log = Falling(), tmp_path / "log.jsonl"
    is_reached = end_rule("UA>=80", 3, probe, log, Silent())
    assert [is_reached(steps) for steps in range(7)] == [False] * 6 + [True]
    noted = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(row["step"], row["ua"], row["pictures"]) for row in noted] == [(3, 40, 5), (6, 80, 5)]
    assert all(row["seconds"] >= 0 for row in noted)


def test_a_resumed_run_does_not_measure_again_what_its_log_holds(tmp_path: Path) -> None:
    probe, log = Falling(), tmp_path / "log.jsonl"
    end_rule("UA>=40", 3, probe, log, Silent())(3)
    assert end_rule("UA>=40", 3, probe, log, Silent())(3)
    assert probe.calls == 1


def test_without_a_probe_a_condition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing can measure"):
        end_rule("UA>=40", 3, None, tmp_path / "log.jsonl", Silent())
