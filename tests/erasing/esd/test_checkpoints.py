"""Checkpoints: of the moment they were asked for, in a thread beside a device's training."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from esdctl.erasing.esd import checkpoint
from esdctl.erasing.esd.checkpoint import Checkpoints, Progress, load_checkpoint
from esdctl.erasing.esd.student import Student
from esdctl.errors import StorageError
from esdctl.models.families.sd1 import FAMILY as SD1
from tests.erasing.conftest import Train


class Elsewhere(Student):
    """A student that says it is on another device."""

    device = torch.device("mps")


def begun(folder: Path) -> tuple[Student, Checkpoints]:
    layer = torch.nn.Linear(2, 2)
    torch.nn.init.zeros_(layer.weight)
    student = Elsewhere(layer, SD1.denoiser, {"weight": layer.weight}, {})
    return student, Checkpoints(*state(folder, student))


def state(folder: Path, student: Student) -> tuple[object, ...]:
    optimizer = torch.optim.Adam(student.selected.values())
    return folder, student, optimizer, torch.amp.GradScaler("cpu", enabled=False), {}


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is written before this is set."""
    event, write_with = threading.Event(), checkpoint.write_with

    def late(path: Path, writer: Callable[[Path], None]) -> None:
        assert event.wait(60)
        write_with(path, writer)

    monkeypatch.setattr(checkpoint, "write_with", late)
    return event


def test_what_is_written_is_of_the_moment_it_was_saved(
    tmp_path: Path, release: threading.Event
) -> None:
    student, checkpoints = begun(tmp_path)
    with checkpoints:
        checkpoints.save(Progress(1, 0.5))
        with torch.no_grad():
            student.selected["weight"].fill_(7.0)
        release.set()
    assert load_checkpoint(*state(tmp_path, student)) == Progress(1, 0.5)
    assert student.selected["weight"].eq(0).all()


def test_a_block_that_fails_leaves_the_last_checkpoint_whole(
    tmp_path: Path, release: threading.Event
) -> None:
    student, checkpoints = begun(tmp_path)
    with pytest.raises(KeyboardInterrupt), checkpoints:
        checkpoints.save(Progress(1, 0.5))
        release.set()
        raise KeyboardInterrupt
    assert load_checkpoint(*state(tmp_path, student)) == Progress(1, 0.5)


@pytest.mark.parametrize("asks", [lambda c: c.check(wait=True), lambda c: c.save(Progress(2, 1.0))])
def test_an_error_of_the_thread_is_raised_with_its_message(
    asks: Callable[[Checkpoints], None], tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("")
    _, checkpoints = begun(tmp_path / "taken")
    with checkpoints:
        checkpoints.save(Progress(1, 0.5))
        with pytest.raises(StorageError, match="taken"):
            asks(checkpoints)


def test_the_end_of_a_block_raises_what_went_wrong_last(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    _, checkpoints = begun(tmp_path / "taken")
    with pytest.raises(StorageError, match="taken"), checkpoints:
        checkpoints.save(Progress(1, 0.5))


@pytest.mark.parametrize(("minutes", "kept"), [("1e-6", [3, 4]), ("60", [4])])
def test_steps_that_take_long_are_saved_by_the_clock(
    minutes: str, kept: list[int], train: Train, tmp_path: Path
) -> None:
    chosen = ["--save-every", "100", "--save-minutes", minutes, "--trajectory", "rolling"]
    assert train(*chosen, "--output", "run", "--no-contact-sheet") == 0
    names = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert names == [f"step-{steps:07d}.pt" for steps in kept]
