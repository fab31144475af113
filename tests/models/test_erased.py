"""Erasures add up on their own base, in whatever form they come, and on no other unless forced."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from esdctl.checkpoints.changes.delta import read_delta_metadata
from esdctl.cli.app import run
from esdctl.errors import IntegrityError, UsageError
from esdctl.models.erased import apply_all, open_erased
from esdctl.storage.workspace import Workspace
from tests.checkpoints.tiny_models import tiny_folder
from tests.models.exports import erase, export

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("sd1", tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def two(base: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two deltas that share the cross-attention's keys and values."""
    return (
        erase(str(base), tmp_path / "rust.safetensors", "xattn", "Rust"),
        erase(str(base), tmp_path / "dogs.safetensors", "esd-x-strict", "Dogs"),
    )


def test_several_erasures_are_the_sum_of_their_changes(
    two: tuple[Path, Path], base: Path, here: Workspace
) -> None:
    erased, notes = apply_all([str(path) for path in two], None, 1.0, False, here)
    assert not notes
    first, second = (load_file(path) for path in two)
    old = open_erased(str(base), here).parts()["unet"]
    assert set(erased.tensors) == set(first) | set(second)
    for name, value in erased.tensors.items():
        expected = first[name] + (second[name] - old[name] if name in second else 0)
        torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-6)
    assert erased.about["concept"] == "Rust, Dogs"
    assert erased.about["base"] == str(base)
    assert "train_method" not in erased.about  # the two differ in it


def test_one_erasure_alone_keeps_its_values_to_the_bit(
    two: tuple[Path, Path], here: Workspace
) -> None:
    erased, _ = apply_all([str(two[0])], None, 1.0, False, here)
    expected = load_file(two[0])
    assert all(torch.equal(erased.tensors[name], value) for name, value in expected.items())


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0, -1.0])
def test_a_scale_goes_from_the_base_through_the_erasure(
    scale: float, two: tuple[Path, Path], base: Path, here: Workspace
) -> None:
    erased, _ = apply_all([str(two[0])], str(base), scale, False, here)
    old = open_erased(str(base), here).parts()["unet"]
    new = load_file(two[0])
    for name, value in erased.tensors.items():
        torch.testing.assert_close(value, old[name] + scale * (new[name] - old[name]))


@pytest.mark.parametrize("form", ["authors", "lora"])
def test_the_authors_form_and_loras_are_read_too(
    form: str, two: tuple[Path, Path], base: Path, here: Workspace, tmp_path: Path
) -> None:
    name = "esd-Dogs-from-Dogs-esdx-strict.safetensors"
    path = export(two[1], form, tmp_path / name, *(["--energy", "1"] if form == "lora" else []))
    erased, notes = apply_all([str(path)], str(base), 1.0, False, here)
    for key, value in load_file(two[1]).items():
        torch.testing.assert_close(erased.tensors[key], value, atol=1e-6, rtol=1e-5)
    assert erased.about["concept"] == "Dogs"
    says_its_base = form == "lora"
    assert notes == ([] if says_its_base else [f"{name} does not say which base it was made from"])


def test_another_base_is_refused_unless_forced(
    two: tuple[Path, Path], here: Workspace, tmp_path: Path
) -> None:
    other = tiny_folder("sd1", tmp_path / "other", seed=1)
    with pytest.raises(IntegrityError, match=r"rust\.safetensors was made from .*tiny"):
        apply_all([str(two[0])], str(other), 1.0, False, here)
    erased, _ = apply_all([str(two[0])], str(other), 1.0, True, here)
    assert erased.about["base"] == str(other)


def test_deltas_that_name_several_bases_need_one_named(
    two: tuple[Path, Path], here: Workspace, tmp_path: Path
) -> None:
    other = tiny_folder("sd1", tmp_path / "other", seed=1)
    third = erase(str(other), tmp_path / "third.safetensors")
    with pytest.raises(UsageError, match="name several bases"):
        apply_all([str(two[0]), str(third)], None, 1.0, True, here)


def test_a_delta_of_another_size_is_refused_even_when_forced(
    base: Path, here: Workspace, tmp_path: Path
) -> None:
    delta = erase("pocket", tmp_path / "pocket-rust.safetensors")
    with pytest.raises(IntegrityError, match="does not fit"):
        apply_all([str(delta)], str(base), 1.0, True, here)


def test_what_apply_writes_is_a_delta_that_samples_and_says_its_parts(
    two: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "both.safetensors"
    assert run(["apply", *map(str, two), "--output", str(out), "--quiet"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    about = read_delta_metadata(out)
    assert '"concept": "Dogs"' in about["sum"]
    again, _ = apply_all([str(out)], None, 1.0, False, Workspace(tmp_path))
    assert again.about["concept"] == "Rust, Dogs"


def test_a_complete_model_is_no_change(base: Path, tmp_path: Path, capsys: Capture) -> None:
    path = export(str(base), "compvis", tmp_path / "model.safetensors")
    assert run(["apply", str(path), "--base", str(base)]) == 3
    assert "is a complete model" in capsys.readouterr().err


def test_apply_without_a_delta_file_says_so(tmp_path: Path, capsys: Capture) -> None:
    assert run(["apply", str(tmp_path / "nothing.safetensors"), "--base", "pocket"]) == 3
    (tmp_path / "empty").mkdir()
    assert run(["apply", str(tmp_path / "empty"), "--base", "pocket"]) == 3
    assert "holds no delta.safetensors" in capsys.readouterr().err
