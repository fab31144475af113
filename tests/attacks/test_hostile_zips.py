"""Hostile ZIPs: the rules refuse each with its own message, and no fetch leaves a trace of one."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from esdctl.catalog.artifacts import ZipSource
from esdctl.errors import IntegrityError, NetworkError
from tests.attacks.attack import GOOD, Attack
from tests.attacks.hostile_members import TWO_ACCOUNTS
from tests.attacks.reading import read_archive
from tests.attacks.traces import fetch_as_user, leaving_no_trace
from tests.attacks.zip_builder import DEFLATED, Archive, Entry
from tests.attacks.zips import CONTENTS, RULES
from tests.hub_server import HubServer

EVERY = (*RULES, *CONTENTS)
SERVED = tuple(attack for attack in EVERY if attack.name != "empty file")
# Without ranges the bytes are on the disk before a rule can look at them.
SPOOLED = (*CONTENTS, *TWO_ACCOUNTS)


def names_of(attacks: tuple[Attack, ...]) -> list[str]:
    return [attack.name for attack in attacks]


@pytest.mark.parametrize("attack", RULES, ids=names_of(RULES))
def test_the_rules_refuse(attack: Attack) -> None:
    with pytest.raises(IntegrityError, match=re.escape(attack.message)) as caught:
        read_archive(attack.data())
    assert caught.value.hint
    assert caught.value.message.isprintable()


def test_there_are_many_attacks_and_no_two_alike() -> None:
    assert len(EVERY) >= 120
    assert len({attack.name for attack in EVERY}) == len(EVERY)
    assert len({attack.data() for attack in EVERY}) == len(EVERY)


@pytest.fixture(scope="module")
def hub_without_ranges() -> Iterator[HubServer]:
    with HubServer(has_ranges=False) as server:
        yield server


def fetch_archive(hub: HubServer, data: bytes, surroundings: Path) -> Path:
    hub.commit("models/attacker/zips", {"archive.zip": data})
    source = ZipSource(hub.address("models/attacker/zips", "archive.zip"), strip="")
    return fetch_as_user(hub, source, surroundings)


@pytest.mark.parametrize("attack", SERVED, ids=names_of(SERVED))
def test_a_fetch_leaves_no_trace(hub: HubServer, attack: Attack, surroundings: Path) -> None:
    with (
        leaving_no_trace(surroundings),
        pytest.raises(IntegrityError, match=re.escape(attack.message)),
    ):
        fetch_archive(hub, attack.data(), surroundings)


@pytest.mark.parametrize("attack", SPOOLED, ids=names_of(SPOOLED))
def test_a_spooled_archive_leaves_no_trace(
    hub_without_ranges: HubServer, attack: Attack, surroundings: Path
) -> None:
    with (
        leaving_no_trace(surroundings),
        pytest.raises(IntegrityError, match=re.escape(attack.message)),
    ):
        fetch_archive(hub_without_ranges, attack.data(), surroundings)


def test_an_empty_file_leaves_no_trace(hub: HubServer, surroundings: Path) -> None:
    with leaving_no_trace(surroundings), pytest.raises((IntegrityError, NetworkError)):
        fetch_archive(hub, b"", surroundings)


def test_a_sound_archive_arrives_the_same_way(hub: HubServer, surroundings: Path) -> None:
    dog = b"woof " * 5000
    data = Archive((GOOD, Entry("Dogs/1.txt", dog, DEFLATED))).build()
    folder = fetch_archive(hub, data, surroundings)
    assert (folder / "good.txt").read_bytes() == GOOD.data
    assert (folder / "Dogs/1.txt").read_bytes() == dog
