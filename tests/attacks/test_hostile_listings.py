"""Hostile names in a hub's listing: refused, and nothing of the repository is written."""

import re
from pathlib import Path

import pytest

from esdctl.catalog.artifacts import TreeSource
from esdctl.errors import IntegrityError
from tests.attacks.hostile_names import PAIRS, SINGLE
from tests.attacks.traces import fetch_as_user, leaving_no_trace
from tests.hub_server import HubServer

TREE = TreeSource("attacker/tree", "model")
# A listing has files alone, each once.
TWINS = [
    (name, {first, second}, message)
    for name, first, second, message in PAIRS
    if first != second and not first.endswith("/") and not second.endswith("/")
]
LISTINGS = [
    *((name, {path}, message) for name, path, message in SINGLE),
    *TWINS,
    ("half of a surrogate pair", {"\ud800.txt"}, "is not valid Unicode"),
]


@pytest.mark.parametrize(
    ("paths", "message"),
    [listing[1:] for listing in LISTINGS],
    ids=[listing[0] for listing in LISTINGS],
)
def test_a_hostile_listing_leaves_no_trace(
    hub: HubServer, paths: set[str], message: str, surroundings: Path
) -> None:
    files: dict[str, bytes | Path] = dict.fromkeys({"good.txt", *paths}, b"bark")
    hub.commit("models/attacker/tree", files)
    with (
        leaving_no_trace(surroundings),
        pytest.raises(IntegrityError, match=re.escape(message)),
    ):
        fetch_as_user(hub, TREE, surroundings)
