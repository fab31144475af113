"""``format``: what a run writes besides its delta, and where."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from esdctl.cli.app import run
from esdctl.models.resolve import resolve_model
from esdctl.storage.workspace import Workspace
from tests.erasing.conftest import Train
from tests.erasing.unlearn_diff_files import write_train_config

SMALL = ["--devices", "cpu", "--ddim_steps", "2", "--image_size", "64"]


def train_config(model: Path, **changes: object) -> str:
    """unlearn_diff's file in the current folder, for a machine without a GPU."""
    return str(write_train_config(Path("train_config.yaml"), ckpt_path=str(model), **changes))


def is_erased_unet(path: Path, run_folder: Path) -> bool:
    """Whether a model's U-Net holds the values of a run's delta."""
    unet = resolve_model(str(path), Workspace(Path())).files.read("unet")
    delta = load_file(run_folder / "delta.safetensors")
    return bool(delta) and all(torch.equal(unet[name], value) for name, value in delta.items())


def test_a_seed_systems_file_gives_its_pickle_of_the_whole_model(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["train", "--config_path", train_config(tiny_model), *SMALL]) == 0
    captured = capsys.readouterr()
    folder = Path(captured.out.strip())
    model = tmp_path / "outputs/esd/finetuned_models/esd_Abstractionism_model.pth"
    state = torch.load(model, weights_only=True)["state_dict"]
    prefixes = {name.partition(".")[0] for name in state}
    assert {"model", "first_stage_model", "cond_stage_model", "alphas_cumprod"} <= prefixes
    assert is_erased_unet(model, folder)
    assert captured.err.count("not used any more") == 1
    assert str(model.relative_to(tmp_path)) in captured.err


def test_both_example_commands_of_unlearn_diff_train(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    example = [
        "--train_method", "xattn", "--start_guidance", "0.1", "--negative_guidance", "0.0",
        "--iterations", "2", "--lr", "5e-5",
    ]  # fmt: skip
    file = train_config(tiny_model)
    assert run(["train", "--config_path", file, *example, *SMALL, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["iterations"] == 2
    assert Path(document["model"]).name == "esd_Abstractionism_model.pth"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--format", "compvis"], "run/model.safetensors"),
        (["--format", "diffusers"], "run/diffusers"),
        (["--format", "compvis", "--output-dir", "x", "--output-name", "a.ckpt"], "x/a.ckpt"),
        (["--format", "unlearn-diff", "--output-dir", "x", "--output-name", "a"], "x/a.pth"),
        (["--format", "unlearn-diff"], "run/esd_Rust_model.pth"),
    ],
)
def test_each_format_goes_where_it_was_asked(
    arguments: list[str], name: str, train: Train, tmp_path: Path
) -> None:
    assert train("--output", "run", "--iterations", "1", *arguments) == 0
    assert is_erased_unet(tmp_path / name, tmp_path / "run")
    assert train("--output", "run", "--iterations", "1", *arguments) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "compvis", "--output-name", "a.txt"], "a.txt"),
        (["--format", "diffusers", "--output-dir", "taken"], "exists"),
        (["--format", "compvix"], "did you mean 'compvis'"),
    ],
)
def test_a_name_that_cannot_be_used_is_told_before_the_training(
    arguments: list[str], message: str, train: Train, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "taken/diffusers").mkdir(parents=True)
    assert train("--output", "run", *arguments) == 2
    assert message.replace("'", "") in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
