"""A hub on loopback, and pieces so small that a file of a few MiB has many."""

from collections.abc import Iterator

import pytest

from tests.hub_server import HubServer
from tests.transfer.one_fetch import SMALL_PIECES


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in SMALL_PIECES:
        monkeypatch.setattr(module, name, value)
