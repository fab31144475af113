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
from esdctl.erasing.run_folder import RunFolder
from esdctl.models.resolve import resolve_model
from esdctl.storage.workspace import Workspace
from esdctl.verification.training_log import check_log
from tests.verification.conftest import RUN, rewrite, verdicts

Captured = pytest.CaptureFixture[str]
UNET = "unet/diffusion_pytorch_model.safetensors"


def verify(root: Path, name: str, capsys: Captured, *more: str) -> tuple[int, dict[str, str]]:
    """The exit status, and the failed checks with what was measured."""
    status, passed, measured = verdicts(root, name, capsys, *more)
    return status, {check: measured[check] for check in passed if passed[check] is False}


def taken_out(root: Path) -> Path:
    """A copy of the run's delta, which no manifest seals."""
    return Path(shutil.copy(root / RUN / "delta.safetensors", root / "delta.safetensors"))


EXPORT = "exported"


@pytest.mark.parametrize("name", [RUN, f"{RUN}/delta.safetensors", EXPORT])
def test_what_was_left_as_it_was_made_passes(name: str, root: Path, capsys: Captured) -> None:
    assert verify(root, name, capsys) == (0, {})
    _, passed, _ = verdicts(root, name, capsys)
    assert {"base", "parameters", "values"} <= set(passed)
    assert None not in passed.values()
    assert ("log" in passed) == (name == RUN)
    assert ("run" in passed) == (name == EXPORT)


def test_one_more_tensor_changed_in_an_export_is_named(root: Path, capsys: Captured) -> None:
    path = root / EXPORT / UNET
    rewrite(path, {"conv_in.bias": load_file(path)["conv_in.bias"] + 1})
    status, failed = verify(root, EXPORT, capsys)
    assert status == 1
    assert "1 other, such as unet.conv_in.bias" in failed["parameters"]


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
    assert (status, list(failed)) == (1, ["values"])
    assert name in failed["values"]


def test_an_export_that_is_not_finite_is_a_failed_check(root: Path, capsys: Captured) -> None:
    path = root / EXPORT / UNET
    name = next(key for key in load_file(path) if "attn2.to_k" in key)
    rewrite(path, {name: torch.full_like(load_file(path)[name], float("inf"))})
    status, passed, measured = verdicts(root, EXPORT, capsys)
    assert (status, passed["values"], passed["parameters"]) == (1, False, None)
    assert name in measured["values"]


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
    status, passed, measured = verdicts(root, path.name, capsys)
    assert (status, passed["base"], passed["parameters"]) == (1, False, None)
    digest = resolve_model(str(other), Workspace(root)).digest()
    assert measured["base"] == digest[:16]


def test_a_base_that_is_not_here_is_said_and_no_failure(root: Path, capsys: Captured) -> None:
    path = taken_out(root)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["esdctl"])
    save_file(load_file(path), path, {"esdctl": json.dumps({**about, "base": "/nowhere"})})
    status, passed, _ = verdicts(root, path.name, capsys)
    assert status == 0
    assert passed["values"] is True
    assert [passed[name] for name in ("base", "parameters", "run")] == [None] * 3
    run(["verify", str(path), "--root", str(root), "--quiet"])
    assert "warning: " in (said := capsys.readouterr().err)
    assert "not checked: base (no model called '/nowhere'" in said


@pytest.mark.parametrize(
    ("rows", "settings", "fault"),
    [
        ("1 2 3", {"iterations": 3}, ""),
        ("1 3", {"iterations": 3}, "step 3 stands where step 2 should"),
        ("1 2 2", {"iterations": 3}, "step 2 stands where step 3 should"),
        ("2 1 3", {"iterations": 3}, "step 2 stands where step 1 should"),
        ("1 2", {"iterations": 3}, "2 steps"),
        ("1 2 3 4", {"iterations": 3}, "4 steps"),
        ("1 2n 3", {"iterations": 3}, "no finite loss in step 2"),
        ("1 2 p2", {"iterations": 9, "until": "UA>=99"}, ""),
        ("p0", {"iterations": 9, "until": "UA>=99"}, ""),
        ("1 2", {"iterations": 2, "until": "UA>=99"}, ""),
        ("1 2 3", {"iterations": 9, "until": "UA>=99"}, "no probe after the last step"),
        ("1 2 p2 3", {"iterations": 9, "until": "UA>=99"}, "no probe after the last step"),
        ("1 2 m2", {"iterations": 9, "until": "UA>=99"}, "no probe after the last step"),
        ("1 2 3 p3", {"iterations": 2, "until": "UA>=99"}, "no probe after the last step"),
        ("1 3 p3", {"iterations": 9, "until": "UA>=99"}, "step 3 stands where step 2 should"),
    ],
)
def test_a_log_has_every_step_until_the_end(
    rows: str, settings: dict[str, object], fault: str, tmp_path: Path
) -> None:
    """``3`` is a step, ``2n`` one without a finite loss, ``p2`` a probe that ended, ``m2`` not."""
    lines = [
        {"step": int(row[1:]), "probe": "UA>=99", "is_reached": row[0] == "p"}
        if row[0] in "pm"
        else {"step": int(row.strip("n")), "loss": float("nan") if "n" in row else 0.5}
        for row in rows.split()
    ]
    run_folder = RunFolder(tmp_path)
    run_folder.log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    check = check_log(run_folder, {"settings": settings})
    assert check.passed is (not fault)
    assert fault in check.measured


def test_a_gap_in_the_log_of_a_run_is_named(root: Path, capsys: Captured) -> None:
    folder = RunFolder(root / RUN)
    rows = folder.log.read_text().splitlines()
    kept = [row for row in rows if json.loads(row)["step"] != 1]
    assert len(kept) == len(rows) - 1
    folder.log.write_text("\n".join(kept) + "\n")
    folder.seal("Mosaic", "ef" * 32)  # so that the log alone is wrong
    status, failed = verify(root, RUN, capsys)
    assert (status, failed) == (1, {"log": "1 step, step 2 stands where step 1 should"})


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
