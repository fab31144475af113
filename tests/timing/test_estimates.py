"""A dry run tells how long the command will take and how much memory, and changes nothing."""

import json
import time
from pathlib import Path

import pytest
import torch

from esdctl.cli.app import run
from esdctl.erasing.esd.prepare import prepare
from esdctl.erasing.plan import plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load
from esdctl.sampling import sample as sampling
from esdctl.storage.workspace import Workspace
from esdctl.timing.sampling_cost import SamplingCost, sampling_seconds, some_pictures
from esdctl.timing.training_cost import measure_training

Captured = pytest.CaptureFixture[str]
SETTINGS = {"concept": "Rust", "ddim_steps": 3, "iterations": 6, "lr": 1e-3}


def train(model: Path, root: Path, *more: str) -> int:
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in SETTINGS.items()]
    command = ["train", "--model", str(model), "--preset", "reference", "--root", str(root)]
    return run([*command, *flags, *more])


def document(capsys: Captured) -> dict[str, object]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_a_dry_run_of_training_tells_time_and_memory_and_writes_nothing(
    tiny_model: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert train(tiny_model, tmp_path, "--dry-run", "--json") == 0
    out, err = capsys.readouterr()
    estimate = json.loads(out)["estimate"]
    parts = estimate["parts"]
    whole = parts["opening"] + parts["training"] + parts["contact_sheet"]
    assert estimate["seconds"] == pytest.approx(whole, abs=0.01)
    assert parts["training"] == pytest.approx(6 * parts["a_step"], rel=0.01)
    assert estimate["peak_memory_bytes"] > 1e8
    assert estimate["device"] in ("cpu", "cuda")
    assert "estimate: 0:" in err
    assert "GB of memory" in err
    assert list(tmp_path.iterdir()) == []


def test_without_an_estimate_a_dry_run_loads_no_model(
    tiny_model: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esdctl.models.stable_diffusion.StableDiffusion.__init__", None)
    assert train(tiny_model, tmp_path, "--dry-run", "--json", "--no-estimate") == 0
    assert "estimate" not in document(capsys)


def test_a_run_that_is_half_done_is_estimated_by_what_is_left(
    tiny_model: Path, tmp_path: Path, capsys: Captured
) -> None:
    folder = tmp_path / "run"
    short = ("--save-every", "2", "--no-contact-sheet")
    assert train(tiny_model, tmp_path, "--output", str(folder), *short) == 0
    (folder / "delta.safetensors").unlink()
    (folder / "checkpoints/step-0000006.pt").unlink()
    capsys.readouterr()
    assert run(["train", "--resume", str(folder), "--dry-run", "--json"]) == 0
    estimate = document(capsys)["estimate"]
    assert isinstance(estimate, dict)
    parts = estimate["parts"]
    assert parts["training"] == pytest.approx(2 * parts["a_step"], rel=0.01)


def test_measuring_a_step_leaves_the_student_as_it_was(tiny_model: Path, tmp_path: Path) -> None:
    plan = plan_erase(EraseRequest({"model": str(tiny_model), **SETTINGS}), Workspace(tmp_path))
    model = load(plan.pipeline, torch.device("cpu"))
    ready = prepare(model, plan.pipeline, plan.concept, plan.config)
    before = {name: p.detach().clone() for name, p in ready.student.selected.items()}
    cost = measure_training(ready, model.schedule, plan.config, 2)
    assert all(torch.equal(before[name], p) for name, p in ready.student.selected.items())
    assert all(p.grad is None for p in ready.student.selected.values())
    assert cost.passes.pairs == 2
    assert cost.seconds.keys() == cost.passes.counts.keys()
    assert cost.seconds_a_pair == pytest.approx(cost.seconds_a_step / 2)


def test_a_run_that_does_not_fit_says_so_before_it_starts(
    tiny_model: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("esdctl.timing.estimate.measure_training", full)
    assert train(tiny_model, tmp_path, "--dry-run") == 6
    assert "--gradient-checkpointing" in capsys.readouterr().err


def test_a_dry_run_of_sampling_is_estimated(
    tiny_model: Path, tmp_path: Path, capsys: Captured
) -> None:
    command = ["sample", "--model", str(tiny_model), "--prompt", "a", "--seeds", "0-3"]
    assert run([*command, "--steps", "3", "--dry-run", "--json", "--root", str(tmp_path)]) == 0
    estimate = document(capsys)["estimate"]
    assert isinstance(estimate, dict)
    assert set(estimate["parts"]) == {"opening", "sampling"}
    assert list(tmp_path.iterdir()) == []


def test_an_evaluation_that_is_done_takes_no_more_sampling(
    erased: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    command = ["evaluate", "--model", str(erased.delta), "--steps", "2", "--root", str(tmp_path)]
    assert run([*command, "--dry-run", "--json"]) == 0
    before = document(capsys)["estimate"]
    assert run([*command, "--json"]) == 0
    capsys.readouterr()
    assert run([*command, "--dry-run", "--json"]) == 0
    after = document(capsys)["estimate"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert before["parts"]["sampling"] > 0
    assert after["parts"]["sampling"] == 0


def test_each_kind_of_batch_is_measured_once_and_counted(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(Pipeline("tiny", tiny_model), torch.device("cpu"))
    pictures = some_pictures(model, 5, 1.0)
    asked: list[int] = []

    def fake(model: object, batch: list[object]) -> SamplingCost:
        asked.append(len(batch))
        return SamplingCost(len(batch), 2.0, 4.0)

    monkeypatch.setattr("esdctl.timing.sampling_cost.measure_sampling", fake)
    assert sampling_seconds(model, pictures, 2) == pytest.approx(3 * (2.0 * 1 + 4.0))
    assert asked == [2, 1]


def test_an_estimate_of_sampling_is_near_what_sampling_takes(tiny_model: Path) -> None:
    model = load(Pipeline("tiny", tiny_model), torch.device("cpu"))
    pictures = [type(each)(**{**vars(each), "steps": 10}) for each in some_pictures(model, 8, 3.0)]
    list(sampling.sample(model, pictures, 4))
    estimated = sampling_seconds(model, pictures, 4)
    began = time.perf_counter()
    list(sampling.sample(model, pictures, 4))
    real = time.perf_counter() - began
    assert (
        0.2 * real < estimated < 5 * real
    )  # a shared machine; measurements/estimates.py says more


def test_no_device_is_a_device_error_for_a_dry_run_too(tiny_model: Path, tmp_path: Path) -> None:
    assert train(tiny_model, tmp_path, "--dry-run", "--devices", "abacus") == 6
