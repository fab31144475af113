"""``esdctl sweep run --engine slurm`` under a real Slurm of one node, which the fixture starts."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sweep.conftest import outcomes

CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmUser=root
SlurmctldPort={controller}
SlurmdPort={daemon}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands find it."""
    programs = ("munged", "slurmctld", "slurmd", "srun")
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed (Debian: slurm-wlm, munge)")
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons need root")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            folder=folder, host=socket.gethostname().partition(".")[0], cores=os.cpu_count(),
            controller=_free_port(), daemon=_free_port(),
        )
    )  # fmt: skip
    environment = {**os.environ, "SLURM_CONF": str(config)}
    daemons = [
        subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log)
        for command, log in (
            ([
                "munged", "--foreground", "--force", f"--key-file={key}",
                f"--socket={folder}/munge.sock", f"--pid-file={folder}/munged.pid",
                f"--log-file={folder}/munged.log", f"--seed-file={folder}/munge.seed",
            ], subprocess.DEVNULL),
            (["slurmctld", "-D", "-c"], subprocess.DEVNULL),
            (["slurmd", "-D", "-c"], subprocess.DEVNULL),
        )
    ]  # fmt: skip
    try:
        _wait_until_idle(environment, daemons)
        yield environment
        _end_steps(environment)
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()


def _end_steps(environment: dict[str, str]) -> None:
    """Let no script and no step of a job outlive the daemons."""
    for jobs in (["--full", "--signal=KILL"], []):
        subprocess.run(["scancel", "--user=root", *jobs], env=environment, capture_output=True)
    while _ask(environment, "squeue", "--noheader"):
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def _wait_until_idle(environment: dict[str, str], daemons: "list[subprocess.Popen[bytes]]") -> None:
    while "idle" not in _ask(environment, "sinfo", "--noheader", "--format=%T"):
        ended = [daemon for daemon in daemons if daemon.poll() is not None]
        assert not ended, f"{ended[0].args} ended"
        time.sleep(0.1)


def _ask(environment: dict[str, str], *command: str) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return done.stdout


@pytest.mark.slow
def test_a_task_that_is_preempted_goes_on_and_the_results_are_the_local_ones(
    manifest: Path, swept: Path, slurm: dict[str, str], tmp_path: Path
) -> None:
    command = [
        sys.executable, "-m", "esdctl", "sweep", "run", str(manifest), "--engine", "slurm",
        "--option", "timeout_min=60", "--root", str(tmp_path),
    ]  # fmt: skip
    with (tmp_path / "stderr").open("w") as said:
        sweep = subprocess.Popen(command, env=slurm, stdout=subprocess.PIPE, stderr=said, text=True)
        _preempt(slurm, tmp_path)
        printed, _ = sweep.communicate()
    assert sweep.returncode == 0, (tmp_path / "stderr").read_text()
    assert len(printed.splitlines()) == 2
    assert outcomes(manifest, tmp_path) == outcomes(manifest, swept)
    assert "interrupted" in _ends(tmp_path)


def _preempt(slurm: dict[str, str], root: Path) -> None:
    """Warn the task as soon as it has a job, and let it run again at once."""
    while not _ends(root):
        time.sleep(0.05)
    array = _ask(slurm, "squeue", "--noheader", "--format=%A").split()[0]
    subprocess.run(["scancel", "--signal=USR2", array], env=slurm, check=True)
    while "BeginTime" not in _ask(slurm, "squeue", "--noheader", "--format=%r"):
        time.sleep(0.1)
    time.sleep(2)  # Slurm takes a start in the second of its requeue for one that was revoked
    subprocess.run(["scontrol", "update", f"JobId={array}", "StartTime=now"], env=slurm, check=True)


def _ends(root: Path) -> list[object]:
    """How all attempts ended; None for those that began."""
    return [
        json.loads(line)["end"]
        for path in root.glob("outputs/sweep/*/*/attempts.jsonl")
        for line in path.read_text().splitlines()
    ]
