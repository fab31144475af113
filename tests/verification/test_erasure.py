"""``verify`` of an erasure: the selected parameters alone changed, of that base, and pictures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from esdctl.cli.app import run

Captured = pytest.CaptureFixture[str]
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a run of two steps, its export, and two pictures of it."""
    root = tmp_path_factory.mktemp("verified")
    train = [
        "train", "--model", str(tiny_model), "--concept", "Mosaic", "--preset", "reference",
        "--train-method", "xattn", "--ddim-steps", "2", "--iterations", "2", "--lr", "1e-3",
        "--device", "cpu", "--no-contact-sheet", "--quiet",
        "--output", str(root / "outputs/runs/one"),
    ]  # fmt: skip
    assert run(train) == 0
    name = str(root / "outputs/runs/one")
    assert run(["export", name, "--to", "diffusers", "-o", str(root / "exported")]) == 0
    sample = ["sample", "--model", name, "--prompt", "a", "--seeds", "1,2", "--steps", "2", "-q"]
    assert run([*sample, "--root", str(root), "-o", str(root / "outputs/samples/s")]) == 0
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "w")
    return tmp_path / "w"


def verify(root: Path, name: str, capsys: Captured, *more: str) -> tuple[int, dict[str, str]]:
    """The exit status, and the failed checks with what was measured."""
    capsys.readouterr()
    status = run(["verify", str(root / name), "--root", str(root), "--json", "--quiet", *more])
    (report,) = json.loads(capsys.readouterr().out)
    return status, {c["name"]: c["measured"] for c in report["checks"] if not c["passed"]}


def rewrite(path: Path, change: dict[str, torch.Tensor]) -> None:
    """Other values of some tensors, the metadata as it was."""
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    save_file({**load_file(path), **change}, path, about)


def taken_out(root: Path) -> Path:
    """A copy of the run's delta, which no manifest seals."""
    return Path(shutil.copy(root / RUN / "delta.safetensors", root / "delta.safetensors"))


RUN, EXPORT = "outputs/runs/one", "exported"


@pytest.mark.parametrize("name", [RUN, f"{RUN}/delta.safetensors", EXPORT])
def test_what_was_left_as_it_was_made_passes(name: str, root: Path, capsys: Captured) -> None:
    assert verify(root, name, capsys) == (0, {})
    run(["verify", str(root / name), "--root", str(root), "--json"])
    (report,) = json.loads(capsys.readouterr().out)
    names = [check["name"] for check in report["checks"]]
    assert {"base", "parameters", "values"} <= set(names)
    assert ("log" in names) == (name == RUN)


def test_one_more_tensor_changed_in_an_export_is_named(root: Path, capsys: Captured) -> None:
    path = root / EXPORT / UNET
    rewrite(path, {"conv_in.bias": load_file(path)["conv_in.bias"] + 1})
    status, failed = verify(root, EXPORT, capsys)
    assert status == 1
    assert "1 others, such as unet.conv_in.bias" in failed["parameters"]


def test_a_changed_text_encoder_is_named(root: Path, capsys: Captured) -> None:
    path = next((root / EXPORT / "text_encoder").glob("*.safetensors"))
    name = "text_model.final_layer_norm.bias"
    name = next(key for key in load_file(path) if key.endswith(name))
    rewrite(path, {name: load_file(path)[name] + 1})
    status, failed = verify(root, EXPORT, capsys)
    assert status == 1
    assert "text_encoder" in failed["parameters"]


def test_an_export_in_which_nothing_changed_fails(
    root: Path, tiny_model: Path, capsys: Captured
) -> None:
    rewrite(root / EXPORT / UNET, load_file(tiny_model / UNET))
    status, failed = verify(root, EXPORT, capsys)
    assert status == 1
    assert failed["parameters"].startswith("0 of ")


def test_a_value_that_is_not_finite_is_named(root: Path, capsys: Captured) -> None:
    path = taken_out(root)
    name, value = next(iter(load_file(path).items()))
    rewrite(path, {name: torch.full_like(value, float("nan"))})
    status, failed = verify(root, path.name, capsys)
    assert status == 1
    assert name in " ".join(failed.values())


def test_an_export_that_is_not_finite_is_a_failed_check(root: Path, capsys: Captured) -> None:
    path = root / EXPORT / UNET
    name = next(key for key in load_file(path) if "attn2.to_k" in key)
    rewrite(path, {name: torch.full_like(load_file(path)[name], float("nan"))})
    status, failed = verify(root, EXPORT, capsys)
    assert status == 1
    assert name in failed["model"]


def test_an_export_that_cannot_be_read_is_no_absent_base(root: Path, capsys: Captured) -> None:
    (root / EXPORT / "unet/config.json").write_text("{")
    status, failed = verify(root, EXPORT, capsys)
    assert status == 1
    assert "config.json" in failed["model"]


def test_another_base_is_a_failure(root: Path, tiny_model: Path, capsys: Captured) -> None:
    other = root / "other"
    shutil.copytree(tiny_model, other)
    rewrite(other / UNET, {"conv_in.bias": load_file(other / UNET)["conv_in.bias"] + 1})
    path = taken_out(root)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["esdctl"])
    save_file(load_file(path), path, {"esdctl": json.dumps({**about, "base": str(other)})})
    assert verify(root, path.name, capsys)[0] == 1


def test_a_base_that_is_not_here_is_said_and_no_failure(root: Path, capsys: Captured) -> None:
    path = taken_out(root)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["esdctl"])
    save_file(load_file(path), path, {"esdctl": json.dumps({**about, "base": "/nowhere"})})
    assert verify(root, path.name, capsys) == (0, {})


def test_a_gap_in_the_log_is_named(root: Path, capsys: Captured) -> None:
    log = root / RUN / "log.jsonl"
    lines = [line for line in log.read_text().splitlines() if '"step": 1' not in line]
    log.write_text("\n".join(lines) + "\n")
    (root / RUN / "manifest.json").unlink(missing_ok=True)
    status, failed = verify(root, RUN, capsys)
    assert status == 1
    assert "log" in failed or "sha256" in failed


def test_pictures_are_sampled_again(root: Path, capsys: Captured) -> None:
    assert verify(root, RUN, capsys, "--pictures", "2") == (0, {})


def test_a_folder_of_pictures_is_checked_by_itself(root: Path, capsys: Captured) -> None:
    name = "outputs/samples/s"
    assert verify(root, name, capsys) == (0, {})
    assert verify(root, name, capsys, "--pictures", "1") == (0, {})
    min((root / name).glob("*.png")).unlink()
    status, failed = verify(root, name, capsys)
    assert status == 1
    assert failed["sha256"] == "other bytes or none"


def test_a_delta_that_lacks_a_selected_parameter_is_named(root: Path, capsys: Captured) -> None:
    path = taken_out(root)
    values = load_file(path)
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
    missing = max(values)
    save_file({name: value for name, value in values.items() if name != missing}, path, about)
    status, failed = verify(root, path.name, capsys)
    assert status == 1
    assert missing in failed["parameters"]


def test_a_picture_that_was_touched_up_is_named(root: Path, capsys: Captured) -> None:
    path = min((root / "outputs/samples/s").glob("*.png"))
    pixels = np.asarray(Image.open(path)).astype(int)
    pixels[0, 0] = np.where(pixels[0, 0] > 100, pixels[0, 0] - 3, pixels[0, 0] + 3)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    status, failed = verify(root, RUN, capsys, "--pictures", "2")
    assert status == 1
    assert path.name in failed["pictures"]
