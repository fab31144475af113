"""Runs of ``esdctl train`` on the tiny model."""

import shutil
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest

from esdctl.cli.app import run

Train = Callable[..., int]


@pytest.fixture
def train(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Calls ``esdctl train`` in this process, in an empty workspace; gives the exit status.

    There is no contact sheet, half of such a run's time, unless the call says ``sheet=True``.
    """
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, concept: str = "Rust", sheet: bool = False) -> int:
        return run(command(tiny_model, *arguments, concept=concept, sheet=sheet))

    return call


def command(model: Path, *arguments: str, concept: str = "Rust", sheet: bool = False) -> list[str]:
    """The words of a short run; arguments go before what they would repeat."""
    settings = {
        "--concept": concept, "--model": str(model), "--ddim-steps": "3", "--iterations": "4",
        "--lr": "1e-3", "--save-every": "2", "--devices": "cpu", "--preset": "reference",
    }  # fmt: skip
    given = {argument.partition("=")[0] for argument in arguments}
    if "--resume" in given:
        return ["train", *arguments]
    base = [word for key in settings if key not in given for word in (key, settings[key])]
    is_said = sheet or given & {"--contact-sheet", "--no-contact-sheet"}
    return ["train", *base, *arguments, *([] if is_said else ["--no-contact-sheet"])]


@pytest.fixture(scope="session")
def finished_run(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody changes."""
    folder = tmp_path_factory.mktemp("finished")
    with chdir(folder):
        assert run(command(tiny_model, "--output", "run")) == 0
    return folder / "run"


@pytest.fixture
def finished(finished_run: Path, train: Train, tmp_path: Path) -> Path:
    """A copy of it, called run in the current folder; ``train`` gives its settings."""
    return shutil.copytree(finished_run, tmp_path / "run")
