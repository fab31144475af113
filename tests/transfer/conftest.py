"""A hub on loopback, and pieces so small that a file of a few MiB has many."""

from collections.abc import Iterator

import pytest

from esdctl.transfer import ranges, remote_zip, segments
from tests.hub_server import HubServer

SMALL = 128 * 1024


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "PIECE", 4 * SMALL)
    monkeypatch.setattr(ranges, "CHECKPOINT", SMALL)
    monkeypatch.setattr(segments, "LARGEST_SEGMENT", SMALL)
    monkeypatch.setattr(segments, "SMALLEST_SEGMENT", SMALL)
    monkeypatch.setattr(remote_zip, "LARGEST_SEGMENT", SMALL)
