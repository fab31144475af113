"""``esdctl train`` on transformers that flow matching trained."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from esdctl.cli.app import run
from esdctl.models.families.registry import family_named
from esdctl.models.resolve import Pipeline
from tests.checkpoints.tiny_flow_models import tiny_sd3

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd3(tmp_path_factory.mktemp("base") / "sd3", has_t5=False)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def train(model: Path, *more: str, output: str = "run") -> int:
    """Flags of ``more`` replace the others."""
    flags = {
        "--concept": "Rust", "--lr": "1e-3", "--iterations": "2", "--ddim-steps": "3",
        "--batch-size": "2", "--pool-size": "2", "--retain": "Dogs", "--devices": "cpu",
        "--output": output,
    }  # fmt: skip
    usual = [word for pair in flags.items() if pair[0] not in more for word in pair]
    return run(["train", "--model", str(model), "--no-contact-sheet", *usual, *more])


@pytest.mark.parametrize(
    "more",
    [
        ["--trajectory", "exact"],
        ["--trajectory", "frozen", "--erase-from", "metal"],
        ["--trajectory", "rolling", "--dtype", "bf16"],
        ["--trajectory", "rolling", "--devices", "cpu,cpu"],
        ["--trajectory", "frozen", "--gradient-checkpointing"],
    ],
)
def test_a_run_moves_its_group_alone(more: list[str], sd3: Path) -> None:
    assert train(sd3, *more) == 0
    delta = load_file("run/delta.safetensors")
    assert delta
    assert all(".attn.add_k_proj." in name or ".attn.add_v_proj." in name for name in delta)
    base = Pipeline("base", sd3).files.read("transformer")
    assert all((value != base[name]).any() for name, value in delta.items() if "weight" in name)
    rows = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    assert all(row["loss"] > 0 and row["retain_loss"] >= 0 for row in rows)


def test_an_erasure_changes_pictures(sd3: Path, capsys: Captured) -> None:
    assert train(sd3) == 0
    capsys.readouterr()
    pictures = []
    for model in (str(sd3), "run"):
        arguments = ["--prompt", "An image of Rust.", "--steps", "2", "--devices", "cpu"]
        assert run(["sample", "--model", model, *arguments]) == 0
        pictures.append(Path(capsys.readouterr().out.strip()).read_bytes())
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize("trajectory", ["exact", "rolling"])
def test_a_resumed_run_ends_with_the_same_bits(trajectory: str, sd3: Path) -> None:
    line = ["--trajectory", trajectory, "--iterations", "4", "--save-every", "2"]
    for output in ("whole", "broken"):
        assert train(sd3, *line, output=output) == 0
    for name in ("delta.safetensors", "manifest.json"):
        Path("broken", name).unlink(missing_ok=True)
    newest = max(Path("broken/checkpoints").iterdir(), key=lambda path: path.name)
    shutil.rmtree(newest) if newest.is_dir() else newest.unlink()
    assert run(["train", "--resume", "broken", "--devices", "cpu"]) == 0
    whole, broken = (load_file(f"{name}/delta.safetensors") for name in ("whole", "broken"))
    assert whole.keys() == broken.keys()
    assert all(torch.equal(whole[name], broken[name]) for name in whole)


@pytest.mark.parametrize("method", sorted(family_named("sd3").denoiser.groups))
def test_every_group_trains(method: str, sd3: Path) -> None:
    assert train(sd3, "--train-method", method, "--iterations", "1") == 0


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--train-method", "xattn"], "--train-method xattn means nothing in Stable Diffusion 3.x"),
        (["--train-method", "esd-x-strict", "--warm-start"], "the closed-form edit"),
        (["--prediction-type", "epsilon"], "predicts the velocity of a flow alone"),
    ],
)
def test_what_means_nothing_here_is_refused(
    more: list[str], match: str, sd3: Path, capsys: Captured
) -> None:
    assert train(sd3, *more) == 2
    told = capsys.readouterr().err
    assert match in told
    assert not Path("run").exists()


def test_a_method_of_transformers_means_nothing_in_a_unet(capsys: Captured) -> None:
    line = ["train", "--model", "pocket", "--concept", "Rust", "--train-method", "text-kv"]
    assert run(line) == 2
    assert "means nothing in Stable Diffusion 1.x" in capsys.readouterr().err
