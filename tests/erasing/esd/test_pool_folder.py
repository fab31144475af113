"""``train --pool``: frozen trajectories that are kept serve other runs of the same concept."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

Train = Callable[..., int]
SHORT = ("--trajectory", "frozen", "--iterations", "2")
FROZEN = (*SHORT, "--pool", "pools")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_a_sweep_over_rates_eta_and_methods_samples_once(train: Train, tmp_path: Path) -> None:
    assert train(*FROZEN, "--output", "one") == 0
    kept = files(tmp_path / "pools")
    assert kept
    others = (["--lr", "1e-4"], ["--negative-guidance", "2"], ["--train-method", "noxattn"])
    for number, other in enumerate(others):
        assert train(*FROZEN, *other, "--output", str(number)) == 0
    assert files(tmp_path / "pools") == kept
    assert train(*FROZEN, "--seed", "5", "--output", "seed") == 0
    assert len(files(tmp_path / "pools")) == 2 * len(kept)


@pytest.mark.usefixtures("bitsandbytes")
def test_quantised_layers_sample_a_pool_of_their_own(train: Train, tmp_path: Path) -> None:
    assert train(*FROZEN, "--output", "whole") == 0
    kept = files(tmp_path / "pools")
    assert train(*FROZEN, "--output", "small", "--quantize-frozen", "int8") == 0
    assert len(files(tmp_path / "pools")) == 2 * len(kept)
    more = ("--quantize-frozen", "int8", "--train-method", "noxattn")
    assert train(*FROZEN, "--output", "others", *more) == 0
    assert len(files(tmp_path / "pools")) == 3 * len(kept)


def test_a_kept_pool_gives_the_result_of_one_in_memory(train: Train, tmp_path: Path) -> None:
    assert train(*FROZEN, "--output", "written") == 0
    assert train(*FROZEN, "--save-every", "3", "--output", "read") == 0
    assert train(*SHORT, "--output", "memory") == 0
    one, *others = (
        load_file(tmp_path / name / "delta.safetensors") for name in ("written", "read", "memory")
    )
    for other in others:
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("trajectory", ["exact", "rolling"])
def test_where_no_trajectory_is_kept_a_notice_says_so(
    trajectory: str, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--trajectory", trajectory, "--pool", "pool", "--iterations", "1"]
    assert train("--output", "run", *asked) == 0
    assert "pool (flag) is not used: it needs trajectory frozen" in capsys.readouterr().err
    assert not (tmp_path / "pool").exists()


@pytest.mark.parametrize("damage", ["cut", "foreign"])
def test_a_damaged_or_foreign_pool_is_named(
    damage: str, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*FROZEN, "--output", "one") == 0
    path = next((tmp_path / "pools").glob("*.safetensors"))
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        assert train(*FROZEN, "--seed", "5", "--output", "seed") == 0
        (other,) = set((tmp_path / "pools").glob("*.safetensors")) - {path}
        path.write_bytes(other.read_bytes())
    assert train(*FROZEN, "--lr", "1e-4", "--output", "two") == 3
    assert f"{path.name} is damaged" in capsys.readouterr().err
    assert not (tmp_path / "two" / "delta.safetensors").exists()
