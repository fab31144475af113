"""Runs of ``esdctl train`` on the tiny model."""

from collections.abc import Callable
from pathlib import Path

import pytest

from esdctl.cli.app import run

Train = Callable[..., int]


@pytest.fixture
def train(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Calls ``esdctl train`` in this process, in an empty workspace; gives the exit status."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, concept: str = "Rust") -> int:
        settings = {
            "--concept": concept, "--model": str(tiny_model), "--ddim-steps": "3",
            "--iterations": "4", "--lr": "1e-3", "--save-every": "2", "--devices": "cpu",
            "--preset": "reference",
        }  # fmt: skip
        given = {argument.partition("=")[0] for argument in arguments}
        settings = {} if "--resume" in given else settings
        base = [word for key in settings if key not in given for word in (key, settings[key])]
        return run(["train", *base, *arguments])

    return call
