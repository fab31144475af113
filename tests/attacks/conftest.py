"""A hub that attackers may publish on, and a root with something to lose around it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.traces import surround
from tests.hub_server import HubServer


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder around a root, which is the current folder."""
    monkeypatch.chdir(surround(tmp_path) / "root")
    return tmp_path
