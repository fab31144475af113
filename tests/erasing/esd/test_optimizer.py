"""Adam with its moments in 8 bits: nearly Adam, with less state, resumed to the same bits."""

import importlib.util
from pathlib import Path

import pytest
import torch

from esdctl.erasing.esd.checkpoint import Checkpoints, Progress, load_checkpoint
from esdctl.erasing.esd.optimizer import LIBRARY
from esdctl.erasing.esd.student import Student
from esdctl.erasing.esd.update import Update
from esdctl.models.families.sd1 import FAMILY as SD1
from tests.erasing.conftest import Train

SIDE = 64  # of the matrix: the fewest values whose moments are kept in 8 bits


def begun(name: str, is_within: bool = False) -> tuple[Student, Update]:
    torch.manual_seed(0)
    layer = torch.nn.Linear(SIDE, SIDE)
    student = Student(layer, SD1.denoiser, dict(layer.named_parameters()), {})
    return student, Update(student, 1e-3, is_within, optimizer=name)


def trained(student: Student, update: Update, first: int, last: int) -> torch.Tensor:
    """The matrix after these steps."""
    for step in range(first, last):
        x = torch.randn(8, SIDE, generator=torch.Generator().manual_seed(step))
        assert update((student.network(x) - x).square().mean()).isfinite()
    return student.selected["weight"].detach().clone()


def state_bytes(update: Update) -> int:
    states = update.optimizer.state.values()
    return sum(v.nbytes for state in states for v in state.values() if isinstance(v, torch.Tensor))


@pytest.mark.usefixtures("bitsandbytes")
def test_it_moves_nearly_as_adam_with_a_quarter_of_its_state() -> None:
    (one, adam), (other, eight) = begun("adam"), begun("adam8bit")
    start = one.selected["weight"].detach().clone()
    moved, moved_in_8 = trained(one, adam, 0, 20) - start, trained(other, eight, 0, 20) - start
    assert (moved - moved_in_8).norm() < 0.1 * moved.norm()
    assert state_bytes(eight) < 0.4 * state_bytes(adam)  # its tables of 256 levels are in it


@pytest.mark.usefixtures("bitsandbytes")
def test_it_steps_within_the_backward_pass_and_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole = trained(*begun("adam8bit"), 0, 6)
    student, update = begun("adam8bit", is_within=True)
    trained(student, update, 0, 3)
    with Checkpoints(tmp_path, student, update.optimizer, update.scaler, {}) as checkpoints:
        checkpoints.save(Progress(3, 0.0))
    resumed, again = begun("adam8bit", is_within=True)
    assert load_checkpoint(tmp_path, resumed, again.optimizer, again.scaler, {}).steps == 3
    assert torch.equal(trained(resumed, again, 3, 6), whole)


def test_without_its_library_training_says_what_to_install(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "esdctl.erasing.esd.optimizer.find_spec",
        lambda name: None if name == LIBRARY else found(name),
    )
    assert train("--optimizer", "adam8bit", "--output", "run") == 2
    assert "pip install 'esdctl[adam8bit]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("bitsandbytes")
def test_a_run_with_it_says_so_and_cannot_go_on_without(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["--trajectory", "rolling", "--no-contact-sheet", "--output", "run"]
    assert train(*chosen, "--optimizer", "adam8bit") == 0
    assert "optimizer: adam8bit" in (tmp_path / "run/config.yaml").read_text()
    assert train(*chosen) == 2
    assert "other settings" in capsys.readouterr().err
