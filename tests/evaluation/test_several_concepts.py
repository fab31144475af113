"""Models from which several concepts were erased, and those of other tools."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from esdctl.checkpoints.changes.delta import write_delta
from esdctl.cli.app import run
from esdctl.models.resolve import Pipeline
from tests.evaluation.conftest import STYLES

Captured = pytest.CaptureFixture[str]
QUICK = ("--steps", "1", "--json", "--quiet")


def delta_of(base: Pipeline, concept: str, kind: str, mark: str, folder: Path) -> Path:
    weights = load_file(base.folder / "unet" / "diffusion_pytorch_model.safetensors")
    path = folder / f"{concept}.safetensors"
    about = {"base": base.name, "base_digest": base.base_digest()}
    write_delta(
        path,
        {name: -value for name, value in weights.items() if mark in name},
        {**about, "concept": concept, "concept_kind": kind},
    )
    return path


def evaluated(
    model: Path, root: Path, capsys: Captured, *more: str
) -> dict[str, dict[str, object]]:
    assert run(["evaluate", "--model", str(model), "--root", str(root), *QUICK, *more]) == 0
    document: dict[str, dict[str, object]] = json.loads(capsys.readouterr().out)
    return document


def test_a_sum_of_erasures_is_measured_by_target(
    base: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    deltas = [
        delta_of(base, "Neon_Lines", "style", "down_blocks.0.attentions.0", tmp_path),
        delta_of(base, "Cats", "object", "down_blocks.1.attentions.0", tmp_path),
    ]
    both = tmp_path / "both.safetensors"
    assert run(["apply", *map(str, deltas), "-o", str(both)]) == 0
    capsys.readouterr()
    report = evaluated(both, tmp_path, capsys)
    assert report["targets"] == [
        {"kind": "style", "name": "Neon_Lines"}, {"kind": "object", "name": "Cats"},
    ]  # fmt: skip
    assert list(report["unlearning"]) == ["Neon_Lines", "Cats"]
    one = evaluated(both, tmp_path, capsys, "--concept", "Cats")
    assert list(one["percent_of_base"]) == ["Cats"]


def test_each_target_has_to_reach_the_threshold(
    base: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    delta = delta_of(base, "Cats", "object", "conv_in.bias", tmp_path)
    line = ["evaluate", "--model", str(delta), "--root", str(tmp_path), *QUICK]
    line += ["--concept", "Cats", "--concept", "Mosaic", "--min-ua", "100"]
    assert run(line) == 1
    told = capsys.readouterr().err
    assert "UA of Cats is" in told or "UA of Mosaic is" in told


@pytest.mark.parametrize("form", ["lora", "authors"])
def test_a_lora_and_an_authors_delta_are_evaluated_on_the_base_that_is_named(
    form: str, base: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    weights = load_file(base.folder / "unet" / "diffusion_pytorch_model.safetensors")
    name = next(name for name in weights if name.endswith("attn2.to_v.weight"))
    path = tmp_path / "other.safetensors"
    if form == "authors":
        save_file({name: -weights[name]}, path)
    else:
        module = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        out, width = weights[name].shape
        factors = {"lora_down.weight": torch.ones(1, width), "lora_up.weight": torch.ones(out, 1)}
        save_file({f"{module}.{key}": value for key, value in factors.items()}, path)
    line = ["evaluate", "--model", str(path), "--root", str(tmp_path), *QUICK]
    assert run(line) == 3
    assert "--base" in capsys.readouterr().err
    assert run([*line, "--base", str(base.folder)]) == 2
    assert "--concept" in capsys.readouterr().err
    report = evaluated(path, tmp_path, capsys, "--base", str(base.folder), "--concept", "Cats")
    assert report["base"] is not None
    assert list(report["unlearning"]) == ["Cats"]


def test_pictures_are_kept_in_the_benchmarks_layout_and_used_again(
    base: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    delta = delta_of(base, "Cats", "object", "conv_in.bias", tmp_path)
    kept = ("--layout", "unlearn-canvas", "--objects", "Cats", "--seeds", "188,288")
    report = evaluated(delta, tmp_path, capsys, *kept)
    folder = tmp_path / "outputs/unlearn-canvas"
    assert report["model"]["pictures"] == str(folder / "Cats")
    assert report["sampling"]["stored"] == "jpeg"
    names = [f"{style}_Cats_seed{seed}.jpg" for style in STYLES for seed in (188, 288)]
    for theme in ("Cats", "base"):
        assert sorted(path.name for path in (folder / theme).glob("*.jpg")) == sorted(names)
    (folder / "Cats" / names[0]).unlink()
    before = (folder / "Cats" / names[1]).stat().st_mtime_ns
    again = evaluated(delta, tmp_path, capsys, *kept)
    assert {**again, "date": report["date"]} == report
    assert (folder / "Cats" / names[0]).is_file()
    assert (folder / "Cats" / names[1]).stat().st_mtime_ns == before


def test_an_erasure_of_an_erased_model_is_measured_against_the_first_base(
    base: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    first = delta_of(base, "Neon_Lines", "style", "conv_in.bias", tmp_path)
    weights = load_file(base.folder / "unet" / "diffusion_pytorch_model.safetensors")
    second = tmp_path / "second.safetensors"
    write_delta(
        second,
        {"conv_out.bias": -weights["conv_out.bias"]},
        {"base": str(first), "concept": "Cats", "concept_kind": "object"},
    )
    report = evaluated(second, tmp_path, capsys)
    assert list(report["unlearning"]) == ["Neon_Lines", "Cats"]
    assert report["base"]["name"] == base.name
