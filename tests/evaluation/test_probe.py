"""A probe measures a model in training, and ends the training where the concept is gone."""

import json
from pathlib import Path

import pytest
import torch

from esdctl.cli.app import run
from esdctl.erasing.until import Probed
from esdctl.evaluation.probe import new_probe, plan_probe
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load

Captured = pytest.CaptureFixture[str]


def train(model: Pipeline, root: Path, *more: str) -> int:
    return run(
        [
            "train", "--model", str(model.folder), "--concept", "Mosaic", "--preset", "reference",
            "--ddim-steps", "2", "--iterations", "6", "--lr", "1e-3", "--device", "cpu",
            "--no-contact-sheet", "--output", str(root / "run"), *more,
        ]
    )  # fmt: skip


def rows(root: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (root / "run/log.jsonl").read_text().splitlines()]


def test_training_ends_early_and_says_at_which_step(
    base: Pipeline,
    tmp_path: Path,
    capsys: Captured,
) -> None:
    assert train(base, tmp_path, "--until", "UA>=0", "--probe-every", "2", "--json") == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["iterations"] == 2
    assert "after step 2: UA" in err
    steps = [row for row in rows(tmp_path) if "loss" in row]
    (probe,) = (row for row in rows(tmp_path) if "probe" in row)
    assert len(steps) == 2
    assert float(str(probe["seconds"])) > 0
    seconds = sum(float(str(row["seconds"])) for row in rows(tmp_path))
    assert document["seconds"] == pytest.approx(seconds, abs=0.01)
    assert (tmp_path / "run/delta.safetensors").is_file()


def test_probing_changes_no_step(base: Pipeline, tmp_path: Path) -> None:
    asked = ("--until", "UA>=100", "--probe-every", "2")
    assert train(base, tmp_path / "probed", *asked) == 0
    assert train(base, tmp_path / "plain") == 0
    probed, plain = (
        [row["loss"] for row in rows(tmp_path / name) if "loss" in row]
        for name in ("probed", "plain")
    )
    assert probed == plain[: len(probed)]


def test_a_model_without_a_classifier_is_refused_before_training(
    tiny_model: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert train(Pipeline("tiny", tiny_model), tmp_path, "--until", "UA>=99") == 3
    assert "has no classifier" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_probe_sees_the_weights_as_they_are_at_that_moment(base: Pipeline) -> None:
    model = load(base, torch.device("cpu"))
    plan = plan_probe(base, "Mosaic")
    probe = new_probe(plan, model)
    before = probe(0.0)
    assert before.pictures == len(plan.cases) == 4
    with torch.no_grad():
        for name, parameter in model.denoiser.named_parameters():
            if "attn2.to_v" in name or "conv_out" in name:
                parameter.mul_(-3)
    fresh = load(base, torch.device("cpu"))
    fresh.denoiser.load_state_dict(model.denoiser.state_dict())
    assert probe(0.0) == new_probe(plan, fresh)(0.0)


def test_a_probe_ends_as_soon_as_the_answer_is_clear(
    base: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("esdctl.evaluation.probe.AT_ONCE", 1)
    monkeypatch.setattr("esdctl.evaluation.probe.without_target", lambda *_: 0)
    probe = new_probe(plan_probe(base, "Mosaic"), load(base, torch.device("cpu")))
    assert probe(100.0) == Probed(0.0, 1, False)
    assert probe(0.0) == Probed(0.0, 4, True)
