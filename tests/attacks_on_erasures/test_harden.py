"""``train --harden N``: rounds of attack and edit after training, in the log and in the delta."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from esdctl.cli.app import run
from esdctl.models.resolve import Pipeline
from tests.evaluation.conftest import base, classifier

__all__ = ["base", "classifier"]
Captured = pytest.CaptureFixture[str]


def train(model: Pipeline, output: Path, *more: str) -> int:
    return run(
        [
            "train", "--model", str(model.folder), "--concept", "Mosaic", "--preset", "reference",
            "--train-method", "xattn", "--ddim-steps", "2", "--iterations", "1", "--lr", "1e-3",
            "--device", "cpu", "--no-contact-sheet", "--output", str(output), *more,
        ]
    )  # fmt: skip


def test_a_round_edits_keys_and_values_against_what_inversion_found(
    base: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    assert train(base, tmp_path / "plain", "--quiet") == 0
    assert train(base, tmp_path / "hard", "--harden", "1") == 0
    assert "round 1 of 1" in capsys.readouterr().err
    rows = [json.loads(line) for line in (tmp_path / "hard/log.jsonl").read_text().splitlines()]
    assert [row["harden"] for row in rows if "harden" in row] == [1]
    plain, hard = (load_file(tmp_path / name / "delta.safetensors") for name in ("plain", "hard"))
    moved = {name for name, value in plain.items() if not torch.equal(value, hard[name])}
    assert moved == {
        name for name in plain if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))
    }
    assert list((tmp_path / "hard/harden").rglob("token-*.safetensors"))


def test_a_method_that_moves_no_keys_cannot_be_hardened(base: Pipeline, tmp_path: Path) -> None:
    assert train(base, tmp_path / "run", "--harden", "1", "--train-method", "noxattn") == 2
