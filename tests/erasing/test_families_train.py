"""``esdctl train`` and ``esdctl sample`` on every family, from checkpoints and from folders."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from esdctl.cli.app import run
from esdctl.erasing.train_methods import select
from esdctl.models.families.registry import family_named
from tests.checkpoints.tiny_models import Family
from tests.erasing.families import write_families

Models = dict[tuple[Family, str], Path]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return write_families(tmp_path_factory.mktemp("families"))


def train(model: Path, *arguments: str) -> int:
    settings = [
        "--concept", "Rust", "--preset", "reference", "--train-method", "xattn", "--lr", "1e-3",
        "--iterations", "2", "--ddim-steps", "2", "--retain", "Dogs", "--image-size", "64",
        "--no-contact-sheet", "--output", "run",
    ]  # fmt: skip
    return run(["train", "--model", str(model), *settings, *arguments])


@pytest.mark.parametrize(
    ("family", "layout", "more"),
    [
        ("sd1", "compvis", ["--devices", "cpu,cpu"]),
        ("sd2", "diffusers", ["--gradient-checkpointing", "--erase-from", "metal"]),
        ("sd2-v", "compvis", ["--batch-size", "2"]),
        ("sdxl", "diffusers", ["--dtype", "bf16"]),
        ("sdxl", "compvis", ["--dtype", "bf16", "--devices", "cpu,cpu"]),
    ],
)
def test_a_run_gives_a_delta_that_changes_pictures(
    family: Family,
    layout: str,
    more: list[str],
    models: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    base = models[family, layout]
    assert train(base, *more) == 0
    assert capsys.readouterr().out == "run\n"
    delta = load_file("run/delta.safetensors")
    assert list(delta) == sorted(select("xattn", delta, family_named("sd1")))
    assert {tensor.dtype for tensor in delta.values()} == {torch.float32}
    computed = json.loads(Path("run/run.json").read_text())["computed"]
    assert computed["devices"] == (["cpu", "cpu"] if "cpu,cpu" in more else ["cpu"])
    assert computed["dtype"] == (more[1] if more[0] == "--dtype" else "fp32")
    rows = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    assert all(row["loss"] > 0 and row["retain_loss"] >= 0 for row in rows)
    pictures = []
    for model in (str(base), "run"):
        arguments = ["--prompt", "An image of Rust.", "--steps", "2", "--devices", "cpu"]
        arguments += ["--image-size", "64"]
        assert run(["sample", "--model", model, *arguments]) == 0
        pictures.append(Path(capsys.readouterr().out.strip()).read_bytes())
    assert pictures[0] != pictures[1]


def test_what_was_assumed_of_a_checkpoint_is_told(
    models: Models,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    silent = tmp_path / "silent.ckpt"  # without the config file beside it
    weights = torch.load(models["sd2-v", "compvis"], weights_only=True)["state_dict"]
    torch.save({"state_dict": weights}, silent)  # nor the architecture in it
    assert train(silent, "--dry-run", "--no-estimate", "--json") == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert any("v_prediction is assumed" in note for note in notes)
    assert (
        train(silent, "--dry-run", "--no-estimate", "--json", "--prediction-type", "epsilon") == 0
    )
    assert "is assumed" not in capsys.readouterr().out
