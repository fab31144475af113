"""A workspace with a real erasure of the tiny model, and the system's Chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from esdctl.cli.app import run


@pytest.fixture(scope="session")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace where ``esdctl train`` erased Mosaic; not to be written to."""
    root = tmp_path_factory.mktemp("report")
    settings = (
        "--model", str(tiny_model), "--ddim-steps", "3", "--iterations", "3", "--lr", "1e-3",
        "--devices", "cpu", "--preset", "reference", "--root", str(root), "--quiet",
    )  # fmt: skip
    assert run(["train", "--concept", "Mosaic", *settings]) == 0
    return root


@pytest.fixture
def workspace(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that workspace of one's own; it is the current folder."""
    shutil.copytree(trained, tmp_path / "workspace")
    monkeypatch.chdir(tmp_path / "workspace")
    return tmp_path / "workspace"


@pytest.fixture
def erasure(workspace: Path) -> Path:
    """The run folder in it."""
    (folder,) = (workspace / "outputs/runs").glob("Mosaic-*")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()
