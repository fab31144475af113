"""``verify`` of every form that ``export`` writes, held against the run that it was made from."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from esdctl.cli.app import run
from esdctl.erasing.run_folder import RunFolder
from tests.verification.conftest import RUN, rewrite, verdicts

Captured = pytest.CaptureFixture[str]
AUTHORS = "esd-Mosaic-from-Mosaic-esdx.safetensors"
_FORMS = {
    "whole.safetensors": ("compvis",),
    "half.ckpt": ("compvis", "--dtype", "fp16"),
    "folder": ("diffusers", "--dtype", "fp16"),
    "copy.safetensors": ("delta",),
    "lora.safetensors": ("lora", "--rank", "2", "--dtype", "bf16"),
    AUTHORS: ("authors",),
    "unet.pt": ("unet",),
}
_SILENT = (AUTHORS, "unet.pt")  # forms that have no place for a base


def export(root: Path, name: str) -> Path:
    path = root / "made" / name
    path.parent.mkdir(exist_ok=True)
    assert run(["export", str(root / RUN), "--to", *_FORMS[name], "-o", str(path), "-q"]) == 0
    return path


@pytest.mark.parametrize("name", _FORMS)
def test_every_form_is_held_against_base_and_run(name: str, root: Path, capsys: Captured) -> None:
    export(root, name)
    more = ["--run", str(root / RUN)] if name == "unet.pt" else []
    status, passed, measured = verdicts(root, f"made/{name}", capsys, *more)
    assert status == 0
    unknown = [check for check in passed if passed[check] is None]
    assert unknown == ["left out"] * ("lora" in name), measured
    assert {"values", "base", "parameters", "run"} <= set(passed)


@pytest.mark.parametrize("name", ["half.ckpt", "unet.pt"])
def test_one_parameter_outside_the_selection_is_named(
    name: str, root: Path, capsys: Captured
) -> None:
    path = export(root, name)
    whole = torch.load(path, weights_only=True)
    tensors = whole.get("state_dict", whole)
    ldm = "model.diffusion_model.input_blocks.0.0.bias"
    other = ldm if ldm in tensors else "conv_in.bias"
    tensors[other] = tensors[other] + 1
    torch.save(whole, path)
    status, passed, measured = verdicts(root, f"made/{name}", capsys, "--run", str(root / RUN))
    assert (status, passed["parameters"], passed["run"]) == (1, False, False)
    assert "unet.conv_in.bias" in measured["parameters"]
    assert measured["run"] == "1 tensor not, such as unet.conv_in.bias"


@pytest.mark.parametrize("name", ["copy.safetensors", AUTHORS])
def test_another_value_of_a_selected_parameter_is_not_the_runs(
    name: str, root: Path, capsys: Captured
) -> None:
    path = export(root, name)
    changed = min(load_file(path))
    rewrite(path, {changed: load_file(path)[changed] * 1.5})
    status, passed, measured = verdicts(root, f"made/{name}", capsys)
    assert (status, passed["parameters"], passed["run"]) == (1, True, False)
    assert measured["run"] == f"1 tensor not, such as unet.{changed}"


def test_a_lora_that_is_further_away_than_its_rank_allows_is_named(
    root: Path, capsys: Captured
) -> None:
    path = export(root, "lora.safetensors")
    up = min(name for name in load_file(path) if name.endswith("lora_up.weight"))
    rewrite(path, {up: load_file(path)[up] * 0.8})
    status, passed, measured = verdicts(root, "made/lora.safetensors", capsys)
    assert (status, passed["run"]) == (1, False)
    assert "1 tensor further away than by rank" in measured["run"]


@pytest.mark.parametrize("name", _SILENT)
def test_what_names_no_base_is_not_passed_over(name: str, root: Path, capsys: Captured) -> None:
    path = export(root, name).rename(root / f"renamed{Path(name).suffix}")
    status, passed, measured = verdicts(root, path.name, capsys)
    assert status == 0
    assert passed["values"] is True
    assert [passed[check] for check in ("base", "parameters", "run")] == [None] * 3
    assert "--run RUN" in measured["base"]


def test_a_model_of_another_tool_says_what_could_not_be_checked(
    tiny_model: Path, root: Path, capsys: Captured
) -> None:
    shutil.copytree(tiny_model, root / "foreign")
    status, passed, _ = verdicts(root, "foreign", capsys)
    assert (status, passed["values"]) == (0, True)
    assert [passed[check] for check in ("base", "parameters", "run")] == [None] * 3
    assert run(["verify", str(root / "foreign"), "--root", str(root)]) == 0
    said = capsys.readouterr().err
    assert "not checked" in said
    assert f"warning: {root / 'foreign'}: not checked: base, parameters, run (" in said


def test_a_model_of_another_tool_is_held_against_a_run_that_is_named(
    tiny_model: Path, root: Path, capsys: Captured
) -> None:
    shutil.copytree(tiny_model, root / "foreign")
    status, passed, measured = verdicts(root, "foreign", capsys, "--run", "one")
    assert (status, passed["base"], passed["parameters"], passed["run"]) == (1, True, False, False)
    assert measured["parameters"].startswith("0 of ")


def test_an_export_of_another_run_is_not_the_named_ones(root: Path, capsys: Captured) -> None:
    other = root / "outputs/runs/two"
    shutil.copytree(root / RUN, other)
    delta = other / "delta.safetensors"
    rewrite(delta, {name: value + 1e-3 for name, value in load_file(delta).items()})
    RunFolder(other).seal("Mosaic", "ef" * 32)
    export(root, "copy.safetensors")
    status, passed, measured = verdicts(root, "made/copy.safetensors", capsys, "--run", "two")
    assert (status, passed["run"]) == (1, False)
    assert measured["run"].startswith(f"{len(load_file(delta))} tensors not")
    assert verdicts(root, "made/copy.safetensors", capsys)[0] == 0  # equal to one of the two


def test_a_scaled_change_is_held_against_no_run(root: Path, capsys: Captured) -> None:
    name = str(root / "half.safetensors")
    half = ["apply", str(root / RUN), "--scale", "0.5", "--to", "delta", "-o", name, "-q"]
    assert run(half) == 0
    status, passed, measured = verdicts(root, "half.safetensors", capsys)
    assert (status, passed["parameters"], passed["run"]) == (0, True, None)
    assert measured["run"] == "a sum of changes, or one that was scaled"


def test_a_pickle_that_would_run_code_fails_and_runs_nothing(root: Path, capsys: Captured) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(root / "ran"),))  # type: ignore[return-value]

    torch.save({"state_dict": {"a": torch.ones(2)}, "more": Evil()}, root / "evil.ckpt")
    status, passed, _ = verdicts(root, "evil.ckpt", capsys)
    assert not (root / "ran").exists()
    assert status == 1
    assert False in passed.values()


def test_a_file_of_another_kind_says_that_it_is_no_erasure(root: Path, capsys: Captured) -> None:
    save_file({"x": torch.ones(2)}, root / "x.safetensors")
    status, passed, measured = verdicts(root, "x.safetensors", capsys)
    assert (status, passed["erasure"]) == (0, None)
    assert measured["erasure"] == "it holds tensors of an unknown kind"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["copy.safetensors", "--run", "nothing"], "nothing is no finished run"),
        (["one", "two", "--run", "one"], "--run needs one delta or export"),
        (["outputs/samples/s", "--run", "one"], "is made from no run"),
        (["data", "--run", "one"], "is no model"),
    ],
)
def test_a_run_that_cannot_be_meant_is_an_error(
    arguments: list[str], said: str, root: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(root / RUN / "delta.safetensors", root / "copy.safetensors")
    (root / "data").mkdir()
    save_file({"x": torch.ones(2)}, root / "data/x.safetensors")
    monkeypatch.chdir(root)
    assert run(["verify", *arguments, "--root", str(root)]) in (2, 3)
    assert said in capsys.readouterr().err
