"""Memory stays bounded, whatever the size: one process, measured by the kernel."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.hub_server import HubServer
from tests.transfer.downloads import MIB, REPO, ZIP_REPO, zip_of

SIZE = int(os.environ.get("ESDCTL_MEMORY_TEST_MIB", "112")) * MIB
MOST = 150 * 10**6  # bytes resident

FETCH = """
import sys
from pathlib import Path
from tests.transfer import one_fetch
one_fetch.SMALL_PIECES.clear()
status = one_fetch.main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], "0")
peak = next(line for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))
print(int(peak.split()[1]) * 1024)
sys.exit(status)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("what", "proof"), [("tree", "members"), ("zip", "members"), ("zip", "whole")]
)
def test_memory_is_bounded(what: str, proof: str, hub: HubServer, tmp_path: Path) -> None:
    weights = np.random.default_rng(0).bytes(SIZE)
    files = {"unet.bin": weights[: SIZE // 2], "vae.bin": weights[SIZE // 2 :]}
    if what == "tree":
        hub.commit(REPO, dict(files))
    else:
        hub.commit(ZIP_REPO, {"all.zip": zip_of(files, stored=("unet.bin", "vae.bin"))})
    command = [sys.executable, "-c", FETCH, str(tmp_path), hub.endpoint, what, proof]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < MOST
