"""A kill at any moment: the next run continues, trusts nothing blindly, and ends bit-equal."""

import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from esdctl.transfer.plan import plan_transfer
from esdctl.transfer.zip import resumption
from tests.conftest import REPOSITORY
from tests.hub_faults import Fault
from tests.hub_server import HubServer
from tests.transfer.downloads import (
    REPO,
    ZIP_REPO,
    Remembering,
    content_of,
    get,
    leftovers,
    quick,
    some_files,
    zip_of,
)
from tests.transfer.one_fetch import artifact_of

FILES = some_files() | {"second.bin": some_files(1)["weights.bin"]}
FOLDERS = {"tree": "data/set", "zip": "models/zipped"}
MIDDLE = {"tree": 36, "zip": 60}  # a request in the middle of the transfer


def start(root: Path, hub: HubServer, what: str, proof: str = "members") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.transfer.one_fetch"]
    return subprocess.Popen(
        [*command, str(root), hub.endpoint, what, proof, "0"],
        cwd=REPOSITORY,
        stderr=subprocess.DEVNULL,
    )


def kill_at_request(process: subprocess.Popen[bytes], hub: HubServer, count: int) -> None:
    """Kill the process once the hub has seen so many requests."""
    deadline = time.monotonic() + 60
    while len(hub.requests) < count and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def kill_at_mark(process: subprocess.Popen[bytes], root: Path, count: int) -> None:
    """Kill the process once its journal holds so many marks of a half-unpacked member."""
    deadline = time.monotonic() + 60
    marks = 0
    while marks < count and process.poll() is None and time.monotonic() < deadline:
        marks = sum(path.read_bytes().count(b"unpacked") for path in root.rglob("*.journal"))
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.fixture
def slow_hub(hub: HubServer) -> HubServer:
    """Slow enough for a kill to find the transfer at work."""
    hub.commit(REPO, dict(FILES))
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES)})
    hub.rate = 4 * 2**20
    return hub


@pytest.mark.parametrize("what", ["tree", "zip"])
@pytest.mark.parametrize("requests", [2, 24])
def test_a_killed_transfer_continues(
    what: str, requests: int, slow_hub: HubServer, tmp_path: Path
) -> None:
    kill_at_request(start(tmp_path, slow_hub, what), slow_hub, requests)
    assert not (tmp_path / FOLDERS[what]).exists()
    artifact = artifact_of(what, slow_hub.endpoint)
    folder = get(artifact, tmp_path, slow_hub)
    assert content_of(folder) == FILES
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("what", ["tree", "zip"])
def test_the_second_run_moves_only_what_is_missing(
    what: str, slow_hub: HubServer, tmp_path: Path
) -> None:
    artifact = artifact_of(what, slow_hub.endpoint)
    whole = plan_transfer(artifact, tmp_path, quick(slow_hub), Remembering()).bytes_to_move
    kill_at_request(
        start(tmp_path, slow_hub, what), slow_hub, len(slow_hub.requests) + MIDDLE[what]
    )
    plan = plan_transfer(artifact, tmp_path, quick(slow_hub), Remembering())
    assert 0 < plan.bytes_to_move < 0.8 * whole
    before = len(slow_hub.requests)
    get(artifact, tmp_path, slow_hub)
    moved = bytes_asked_for(slow_hub, before)
    to_enter = 3 * 2 * resumption.PACKED_WINDOW  # members, each read and unpacked again so far
    assert moved < plan.bytes_to_move + to_enter + 300_000  # and the directory


@pytest.mark.parametrize("what", ["tree", "zip"])
def test_what_changed_on_the_disk_meanwhile_is_fetched_again(
    what: str, slow_hub: HubServer, tmp_path: Path
) -> None:
    kill_at_request(start(tmp_path, slow_hub, what), slow_hub, MIDDLE[what])
    staged = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 0]
    for path in staged:
        if not path.name.endswith((".journal", ".lock")):
            content = bytearray(path.read_bytes())
            content[0] ^= 1
            content[-1] ^= 1
            path.write_bytes(content)
    folder = get(artifact_of(what, slow_hub.endpoint), tmp_path, slow_hub)
    assert content_of(folder) == FILES


@pytest.mark.parametrize("what", ["tree", "zip"])
def test_what_was_kept_of_an_older_version_is_not_used(
    what: str, slow_hub: HubServer, tmp_path: Path
) -> None:
    kill_at_request(start(tmp_path, slow_hub, what), slow_hub, MIDDLE[what])
    newer = some_files(2)
    slow_hub.commit(REPO, dict(newer))
    slow_hub.commit(ZIP_REPO, {"all.zip": zip_of(newer)})
    folder = get(artifact_of(what, slow_hub.endpoint), tmp_path, slow_hub)
    assert content_of(folder) == newer
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "deflated"])
def test_a_half_unpacked_member_goes_on_in_its_middle(
    stored: bool, slow_hub: HubServer, tmp_path: Path
) -> None:
    content = {"only.bin": weights(1_000_000)}
    packed = zip_of(content, stored=tuple(content) if stored else ())
    slow_hub.commit(ZIP_REPO, {"all.zip": packed})
    kill_at_mark(start(tmp_path, slow_hub, "zip"), tmp_path, 8)  # 2 MiB of 4
    before = len(slow_hub.requests)
    folder = get(artifact_of("zip", slow_hub.endpoint), tmp_path, slow_hub)
    assert content_of(folder) == content
    assert bytes_asked_for(slow_hub, before) < 0.75 * len(packed)
    assert leftovers(tmp_path) == []


def test_a_half_unpacked_member_with_wrong_bytes_begins_anew(
    slow_hub: HubServer, tmp_path: Path
) -> None:
    content = {"only.bin": weights(1_000_000)}
    slow_hub.commit(ZIP_REPO, {"all.zip": zip_of(content)})
    kill_at_mark(start(tmp_path, slow_hub, "zip"), tmp_path, 8)
    (staged,) = tmp_path.rglob("only.bin")
    with staged.open("r+b") as file:
        file.write(b"\xff")
    folder = get(artifact_of("zip", slow_hub.endpoint), tmp_path, slow_hub)
    assert content_of(folder) == content
    assert leftovers(tmp_path) == []


def weights(count: int) -> bytes:
    """What a checkpoint holds: it deflates a little, in many blocks."""
    draw = random.Random(0)
    return struct.pack(f"<{count}f", *(draw.gauss(0, 0.02) for _ in range(count)))


def bytes_asked_for(hub: HubServer, since: int) -> int:
    """The sum of the ranges in the requests after the first ``since``."""
    edges = [
        request.range.removeprefix("bytes=").split("-")
        for request in hub.requests[since:]
        if request.host == "127.0.0.1" and request.range
    ]
    return sum(int(last) + 1 - int(first) for first, last in edges)


def test_the_proof_of_the_whole_archive_survives_a_kill(
    slow_hub: HubServer, tmp_path: Path
) -> None:
    kill_at_request(start(tmp_path, slow_hub, "zip", "whole"), slow_hub, 40)
    folder = get(artifact_of("zip", slow_hub.endpoint), tmp_path, slow_hub, proof="whole")
    assert content_of(folder) == FILES


def test_an_interrupted_transfer_ends_at_once_and_continues(
    slow_hub: HubServer, tmp_path: Path
) -> None:
    slow_hub.misbehave([("[0-9a-f]{64}", 6, Fault("stall"))])
    process = start(tmp_path, slow_hub, "tree")
    while len(slow_hub.requests) < MIDDLE["tree"] and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) != 0
    assert not (tmp_path / FOLDERS["tree"]).exists()
    folder = get(artifact_of("tree", slow_hub.endpoint), tmp_path, slow_hub)
    assert content_of(folder) == FILES


def test_the_second_process_waits_and_finds_it_done(slow_hub: HubServer, tmp_path: Path) -> None:
    with start(tmp_path, slow_hub, "tree") as first:
        while not list(tmp_path.rglob("*.lock")) and first.poll() is None:
            time.sleep(0.01)
        reporter = Remembering()
        folder = get(artifact_of("tree", slow_hub.endpoint), tmp_path, slow_hub, reporter)
    assert first.returncode == 0
    assert content_of(folder) == FILES
    assert any("another process" in text for text in reporter.notices)
    assert any("already complete" in text for text in reporter.notices)
