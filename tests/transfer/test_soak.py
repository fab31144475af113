"""Many random faults and kills, seeded: nothing wrong is ever published, and each run ends.

``ESDCTL_SOAK_FAULTS`` and ``ESDCTL_SOAK_KILLS`` set how many at least; ``ESDCTL_SOAK_SEED`` which.
"""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.hub_faults import KINDS, Chaos, Script
from tests.hub_server import HubServer
from tests.transfer.downloads import REPO, ZIP_REPO, content_of, leftovers, some_files, zip_of

FAULTS = int(os.environ.get("ESDCTL_SOAK_FAULTS", "60"))
KILLS = int(os.environ.get("ESDCTL_SOAK_KILLS", "10"))
SEED = int(os.environ.get("ESDCTL_SOAK_SEED", "0"))
LONGEST_RUN = 120.0  # seconds; a run that takes longer does not end
FAULTS_A_TARGET = 12
NO_FAULT_OF_OURS = (0, 4, 5)  # done, network, integrity (bits flipped twice in one place)
FOLDERS = {"tree": "data/set", "zip": "models/zipped"}


@dataclass
class Tally:
    """What the soak did so far."""

    faults: int = 0
    kills: int = 0
    runs: int = 0
    targets: int = 0

    @property
    def is_enough(self) -> bool:
        return self.faults >= FAULTS and self.kills >= KILLS and self.targets >= 3


@pytest.mark.slow
def test_nothing_wrong_is_ever_published(hub: HubServer, tmp_path: Path) -> None:
    draw, tally = random.Random(SEED), Tally()
    while not tally.is_enough:
        soak_one_target(draw, tally, hub, tmp_path / str(tally.targets))
        tally.targets += 1
    print(tally)


def soak_one_target(draw: random.Random, tally: Tally, hub: HubServer, root: Path) -> None:
    """Fetch one source until it is there, through faults and kills."""
    files = some_files(draw.randrange(2**31))
    what, proof = draw.choice([("tree", "members"), ("zip", "members"), ("zip", "whole")])
    stored = tuple(name for name in files if draw.random() < 0.3)
    hub.commit(REPO, dict(files))
    hub.commit(ZIP_REPO, {"all.zip": zip_of(files, stored=stored)})
    hub.page_size = draw.choice([3, 1000])
    hub.has_ranges = draw.random() < 0.9
    hub.rate = draw.choice([None, 8 * 2**20])
    limit = min(FAULTS_A_TARGET, max(0, FAULTS - tally.faults))
    hub.script = chaos = Chaos(draw.randrange(2**31), 0.25, limit, KINDS)
    folder, status = root / FOLDERS[what], -1
    while status != 0:
        to_kill = tally.kills < KILLS and draw.random() < 0.5
        seed, kill_after = str(draw.randrange(1000)), draw.randint(1, 60) if to_kill else None
        status = run(what, proof, seed, hub, root, kill_after, draw.uniform(0, 0.1))
        tally.runs += 1
        tally.kills += status == -signal.SIGKILL
        assert status in (*NO_FAULT_OF_OURS, -signal.SIGKILL)
        if folder.exists():
            assert content_of(folder) == files, (what, proof, tally)
        if status in (4, 5) and len(chaos.happened) >= limit:
            hub.script = Script()
    assert folder.exists()
    assert leftovers(root) == []
    tally.faults += len(chaos.happened)


def run(
    what: str,
    proof: str,
    seed: str,
    hub: HubServer,
    root: Path,
    kill_after: int | None,
    pause: float,
) -> int:
    """One process, killed after so many requests and ``pause`` seconds; returns its exit status."""
    command = [sys.executable, "-m", "tests.transfer.one_fetch"]
    process = subprocess.Popen(
        [*command, str(root), hub.endpoint, what, proof, seed],
        cwd=REPOSITORY,
        stderr=subprocess.DEVNULL,
    )
    began, before = time.monotonic(), len(hub.requests)
    try:
        while process.poll() is None:
            assert time.monotonic() - began < LONGEST_RUN, "the run does not end"
            if kill_after is not None and len(hub.requests) - before >= kill_after:
                time.sleep(pause)
                process.kill()
            time.sleep(0.003)
    finally:
        process.kill()
        process.wait()
    return process.returncode
