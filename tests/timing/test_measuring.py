"""Stopwatch, processes of their own, and what is printed."""

import json
import time
from pathlib import Path

import pytest
import torch

from esdctl.errors import UsageError
from esdctl.models import stopwatch
from esdctl.models.memory import resident_peak
from esdctl.models.stopwatch import seconds_of
from esdctl.settings.devices import parse_devices
from esdctl.timing.isolated import isolated
from esdctl.timing.measurements import Case, measurements

CPU = torch.device("cpu")


def test_quick_work_is_warmed_up_and_measured_several_times() -> None:
    calls: list[float] = []

    def work() -> None:
        calls.append(0.1 if not calls else 0.01)
        time.sleep(calls[-1])

    assert seconds_of(CPU, work) < 0.09
    assert len(calls) == 1 + stopwatch.REPEATS


def test_slow_work_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch, "ENOUGH", 0.02)
    calls: list[None] = []

    def work() -> None:
        calls.append(None)
        time.sleep(0.03)

    assert seconds_of(CPU, work) >= 0.03
    assert len(calls) == 1


def test_the_memory_of_a_process_of_its_own_is_not_its_parents() -> None:
    held = torch.ones(200_000_000)  # 800 MB in this process
    found = isolated(parse_devices, "0,1")
    assert found.value == parse_devices("0,1")
    assert found.imported_bytes <= found.resident_bytes < resident_peak() - 300e6
    assert len(held)


def test_an_error_in_a_process_of_its_own_comes_back() -> None:
    with pytest.raises(UsageError, match="devices"):
        isolated(parse_devices, "0,1,2")


def test_a_report_compares_each_case_with_the_first() -> None:
    cases = [
        Case("theirs", {"s a pair": 1.0, "pairs": 1.0, "MB": None}),
        Case("ours", {"s a pair": 0.1, "pairs": 4.0, "MB": 10.0}),
    ]
    found = measurements("A pair", cases, ["s a pair", "MB"])
    document = json.loads(json.dumps(found.document()))
    assert document["ratios"] == [{"name": "ours", "s a pair": 10.0}]
    assert document["cases"][1] == {"name": "ours", "s a pair": 0.1, "pairs": 4.0, "MB": 10.0}
    text = found.markdown()
    assert "| theirs | 1 | 1 | - |" in text
    assert "| ours | 0.1 (10.00x) | 4 | 10 |" in text


def test_a_report_names_the_machine_but_neither_its_host_nor_its_user() -> None:
    machine = measurements("A pair", [Case("one", {})], []).machine
    assert machine["processor"]
    assert isinstance(machine["versions"], dict)
    assert machine["versions"]["torch"] == torch.__version__
    assert str(Path.home()) not in json.dumps(machine)
