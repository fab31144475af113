"""``esdctl sweep run --engine ray`` on a real Ray of two nodes, one of which dies half-way."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.sweep.conftest import outcomes

pytest.importorskip("ray", reason="pip install 'esdctl[ray]'")


@pytest.mark.slow
def test_a_dead_nodes_job_is_done_elsewhere_and_the_results_are_the_local_ones(
    manifest: Path, swept: Path, tmp_path: Path
) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        other = cluster.add_node(num_cpus=1)
        command = [
            sys.executable, "-m", "esdctl", "sweep", "run", str(manifest), "--engine", "ray",
            "--option", f"address={cluster.address}", "--root", str(tmp_path),
        ]  # fmt: skip
        with (tmp_path / "stderr").open("w") as said:
            sweep = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
            while len(_workers(tmp_path)) < 2:  # a job on each
                assert sweep.poll() is None, (tmp_path / "stderr").read_text()
                time.sleep(0.05)
            cluster.remove_node(other, allow_graceful=False)
            printed, _ = sweep.communicate()
    finally:
        cluster.shutdown()
    assert sweep.returncode == 0, (tmp_path / "stderr").read_text()
    assert len(printed.splitlines()) == 2
    assert outcomes(manifest, tmp_path) == outcomes(manifest, swept)
    attempts = [
        max(json.loads(line)["number"] for line in path.read_text().splitlines())
        for path in tmp_path.glob("outputs/sweep/*/*/attempts.jsonl")
    ]
    assert sorted(attempts) == [1, 2]


def _workers(root: Path) -> set[str]:
    return {
        json.loads(line)["worker"]
        for path in root.glob("outputs/sweep/*/*/attempts.jsonl")
        for line in path.read_text().splitlines()
    }
