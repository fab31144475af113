"""Command lines in processes that fork from one which has torch and esdctl loaded.

For what a test does to a process: signals, kills, another environment. Where it does nothing of
the kind, ``esdctl.cli.app.run`` in the test's own process does.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.warm_server import CLIENT, WORD

REPOSITORY = Path(__file__).parents[1]


@dataclass
class Process:
    """A command that was started; as much of ``subprocess.Popen`` as tests ask for."""

    pid: int
    out: Path
    err: Path
    _link: socket.socket
    returncode: int | None = None

    def poll(self) -> int | None:
        self._link.setblocking(False)
        try:
            return self._received()
        except BlockingIOError:
            return None

    def wait(self) -> int:
        self._link.setblocking(True)
        return self._received()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    @property
    def stdout(self) -> str:
        return self.out.read_text()

    @property
    def stderr(self) -> str:
        return self.err.read_text()

    def _received(self) -> int:
        if self.returncode is None:
            told = self._link.recv(WORD)
            assert told, f"nobody knows how process {self.pid} ended"
            self.returncode = int.from_bytes(told, "big", signed=True)
            self._link.close()
        return self.returncode


@dataclass(frozen=True)
class Warm:
    """The process that forks.

    Args:
        address: of its socket.
        folder: for what the commands print.
    """

    address: Path
    folder: Path

    def start(self, *words: str | Path, cwd: Path, **environment: str) -> Process:
        """Start ``esdctl WORDS``; its stdin is empty.

        Args:
            words: of the command line.
            cwd: its folder.
            environment: beside this process's own.
        """
        return self._start(["esdctl", *map(str, words)], cwd, environment)

    def run(self, *words: str | Path, cwd: Path, **environment: str) -> Process:
        """``start``, and wait until it ends."""
        process = self.start(*words, cwd=cwd, **environment)
        process.wait()
        return process

    def run_script(self, text: str, cwd: Path) -> Process:
        """Run ``python -c TEXT`` in a process of its own, and wait until it ends."""
        process = self._start(["python", "-c", text], cwd, {})
        process.wait()
        return process

    def write_client(self, path: Path, more: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """Write a command that a shell can call.

        Args:
            path: called ``esdctl`` or ``python``, which takes ``-c`` alone.
            more: flags of commands, each added where it is not given.
        """
        path.write_text(
            CLIENT.format(python=sys.executable, address=str(self.address), more=dict(more or {}))
        )
        path.chmod(0o755)

    def _start(self, words: list[str], cwd: Path, environment: dict[str, str]) -> Process:
        link = socket.socket(socket.AF_UNIX)
        link.connect(str(self.address))
        request = json.dumps([words, str(cwd), {**os.environ, **environment}]).encode()
        where = Path(tempfile.mkdtemp(dir=self.folder))
        out, err = where / "stdout", where / "stderr"
        with Path(os.devnull).open() as nothing, out.open("w") as o, err.open("w") as e:
            streams = [nothing.fileno(), o.fileno(), e.fileno()]
            socket.send_fds(link, [len(request).to_bytes(WORD, "big")], streams)
            link.sendall(request)
            pid = int.from_bytes(link.recv(WORD), "big")
        return Process(pid, out, err, link)


@contextmanager
def warm_process(folder: Path) -> Iterator[Warm]:
    """Start the process; it ends with the block.

    Args:
        folder: for its socket and what commands print; a short path.
    """
    address = folder / "socket"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.warm_server", str(address)],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "HF_HUB_OFFLINE": "1",
            "TORCHINDUCTOR_COMPILE_THREADS": "1",  # else a pool of processes, torch in each
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    assert server.stdout.readline() == b"ready\n"
    yield Warm(address, folder)
    server.stdin.close()
    server.wait()
