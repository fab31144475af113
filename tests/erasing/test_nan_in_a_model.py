"""A model with NaN in a tensor that pictures depend on is refused before any step is trained."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from esdctl.cli.app import run
from tests.checkpoints.tiny_models import tiny_compvis, tiny_folder

Captured = pytest.CaptureFixture[str]
USED = {
    "compvis": "model.diffusion_model.out.2.weight",
    "diffusers": "conv_out.weight",
}
UNUSED = {
    "compvis": "alphas_cumprod_prev",  # a table of the schedule, which is computed anew
    "diffusers": "text_model.embeddings.position_ids",
}


def damaged(layout: str, name: str, folder: Path) -> Path:
    """A tiny model whose tensor ``name`` holds one NaN; the tensor is added where it is missing."""
    if layout == "compvis":
        path = tiny_compvis("sd1", folder / "model.ckpt", "state_dict")
        content = torch.load(path, weights_only=True)
        content["state_dict"][name] = with_nan(content["state_dict"].get(name))
        torch.save(content, path)
        return path
    path = tiny_folder("sd1", folder / "model")
    part = "text_encoder/model" if name.startswith("text_model") else "unet/diffusion_pytorch_model"
    file = path / f"{part}.safetensors"
    tensors = load_file(file)
    save_file({**tensors, name: with_nan(tensors.get(name))}, file)
    return path


def with_nan(tensor: torch.Tensor | None) -> torch.Tensor:
    tensor = torch.zeros(1, 77) if tensor is None else tensor.float().clone()
    tensor.view(-1)[0] = torch.nan
    return tensor


def train(model: Path, folder: Path) -> int:
    quick = [
        "--image-size",
        "64",
        "--iterations",
        "1",
        "--ddim-steps",
        "2",
        "--preset",
        "reference",
        "--devices",
        "cpu",
    ]
    where = ["--root", str(folder), "--output", str(folder / "run"), "--no-contact-sheet"]
    return run(["train", "--concept", "Rust", "--model", str(model), *quick, *where])


@pytest.mark.parametrize("layout", list(USED))
def test_training_does_not_begin_on_a_used_tensor_with_nan(
    layout: str, tmp_path: Path, capsys: Captured
) -> None:
    assert train(damaged(layout, USED[layout], tmp_path), tmp_path) == 5
    told = capsys.readouterr()
    assert told.out == ""
    assert "holds NaN" in told.err
    assert USED[layout] in told.err
    assert not (tmp_path / "run/log.jsonl").exists()
    assert not (tmp_path / "run/delta.safetensors").exists()


@pytest.mark.parametrize("layout", list(UNUSED))
def test_nan_in_a_table_that_nobody_uses_does_not_matter(
    layout: str, tmp_path: Path, capsys: Captured
) -> None:
    model = damaged(layout, UNUSED[layout], tmp_path)
    assert train(model, tmp_path) == 0
    assert (tmp_path / "run/delta.safetensors").is_file()
    notice = f"{UNUSED[layout]} in {model} holds NaN; no picture depends on it"
    assert capsys.readouterr().err.count(notice) == (layout == "compvis")
