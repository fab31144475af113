"""``esdctl bench`` measures in processes of their own and prints figures and ratios."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.models.resolve import Pipeline
from esdctl.timing.isolated import Isolated, isolated
from esdctl.timing.loading_bench import to_train, whole, with_diffusers
from esdctl.timing.sampling_bench import diffusers_figures, our_figures
from esdctl.timing.training_bench import REFERENCE, TrainingCase, figures_of, seconds_until

Captured = pytest.CaptureFixture[str]
TINY: dict[str, object] = {"concept": "Mosaic", "iterations": 4, "lr": 1e-3, "devices": "cpu"}


def test_the_reference_costs_more_forwards_a_pair_than_frozen_trajectories(
    base: Pipeline, tmp_path: Path
) -> None:
    settings = {**TINY, "model": str(base.folder)}
    reference = figures_of(TrainingCase("exact", {**settings, **REFERENCE}, "reference"), tmp_path)
    frozen = {"trajectory": "frozen", "ddim_steps": 4, "pool_size": 4, "batch_size": 4}
    ours = figures_of(TrainingCase("frozen", {**settings, **frozen}, "reference"), tmp_path)
    assert 4 < ours["forwards a pair"] <= 5
    assert (reference["forwards a pair"] or 0) > 30
    assert ours["pairs a step"] == 4
    assert list(tmp_path.iterdir()) == []


def test_the_time_to_a_condition_is_that_of_the_steps_alone(base: Pipeline, tmp_path: Path) -> None:
    settings = {**TINY, "model": str(base.folder), "ddim_steps": 2, "probe_every": 2}
    case = TrainingCase("exact", settings, "reference")
    found = seconds_until(case, "UA>=0", tmp_path)
    assert found["steps to UA>=0"] == 2
    assert (found["s to UA>=0"] or 0) > 0
    warm = {"warm_start": True, "retain_all": True}
    found = seconds_until(replace(case, settings={**settings, **warm}), "UA>=0", tmp_path)
    assert found["steps to UA>=0"] == 0
    assert (found["s to UA>=0"] or 0) > 0  # the edit's


def test_sampling_is_measured_beside_diffusers(tiny_model: Path, tmp_path: Path) -> None:
    for figures in (our_figures, diffusers_figures):
        found = figures(str(tiny_model), tmp_path, 2, 4, "cpu")
        rate = found["pictures a second"] or 0
        assert (found["s a picture"] or 0) * rate == pytest.approx(1)


def test_each_way_of_opening_is_measured(tiny_model: Path, tmp_path: Path) -> None:
    for opener in (whole, to_train, with_diffusers):
        seconds, peak = opener(str(tiny_model), tmp_path, "cpu")
        assert 0 < seconds < 60
        assert peak > 1e8


def in_this_process(function: Callable[..., object], *arguments: object) -> Isolated[object]:
    return Isolated(function(*arguments), 0, 0)


def of_diffusers_alone(function: Callable[..., object], *arguments: object) -> Isolated[object]:
    """One case of three in a process of its own: of the library that says the most."""
    where = isolated if function is with_diffusers else in_this_process
    return where(function, *arguments)


@pytest.mark.slow
def test_a_benchmark_prints_machine_figures_and_ratios(
    tiny_model: Path, tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esdctl.timing.loading_bench.isolated", of_diffusers_alone)
    assert run(["bench", "load", "--model", str(tiny_model), "--root", str(tmp_path)]) == 0
    table, told = capfd.readouterr()
    assert all(line.startswith("cases: ") for line in told.splitlines())  # no library's word
    assert "| diffusers, from_pretrained |" in table
    assert "cores" in table
    monkeypatch.setattr("esdctl.timing.training_bench.isolated", in_this_process)
    flags = ["--model", str(tiny_model), "--concept", "Rust", "--preset", "reference"]
    assert run(["bench", "train", *flags, "--batch-size", "2", "--json"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document["cases"][0]["name"] == "exact, batch 1, 50 DDIM steps"
    assert document["ratios"][0]["forwards a pair"] == pytest.approx(1, rel=0.1)
    assert document["machine"]["cores"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sample", "--batch-sizes", "0"], "names no batch sizes"),
        (["sample", "--batch-sizes", "x"], "names no batch sizes"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], words: str, capsys: Captured
) -> None:
    assert run(["bench", *arguments]) == 2
    assert words in capsys.readouterr().err
