"""Commands on pretended CUDA devices."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.conftest import base, classifier, erased
from tests.rehearsal.device.build import build, compiler
from tests.rehearsal.device.runtime import environment

__all__ = ["base", "classifier", "erased"]


@dataclass(frozen=True)
class Answer:
    """What a command did.

    Args:
        status: its exit status.
        stdout, stderr: what it said.
        kernels: launches by operator.
        waits, copies: by kind and line of the product.
        peak: bytes, of each device.
    """

    status: int
    stdout: str
    stderr: str
    kernels: dict[str, int]
    waits: dict[str, int]
    copies: dict[str, int]
    copied: int
    peak: list[int]


Command = Callable[..., Answer]


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """The process; it ends with the session."""
    if compiler() is None:
        pytest.skip("no g++ to build the pretended device with")
    try:
        library = build(tmp_path_factory.mktemp("rehearsal"))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this torch has another backend interface: {error.stderr.decode()[-300:]}")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.rehearsal.worker", str(library)],
        env=environment(REHEARSAL_DEVICES="2"), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    yield process
    assert process.stdin is not None
    process.stdin.close()
    process.wait(timeout=60)


@pytest.fixture
def esdctl(worker: subprocess.Popen[str], tmp_path: Path) -> Command:
    """Runs a command line in an empty workspace."""

    def call(*arguments: str, gigabytes: float = 80, fail_at: int = 0) -> Answer:
        request = {
            "arguments": arguments, "folder": str(tmp_path), "gigabytes": gigabytes,
            "fail_at": fail_at,
        }  # fmt: skip
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(json.dumps(request) + "\n")
        worker.stdin.flush()
        answer: dict[str, Any] = json.loads(worker.stdout.readline())
        nothing: dict[str, Any] = {
            "stdout": "", "kernels": {}, "waits": {}, "copies": {}, "copied": 0, "peak": [],
        }  # fmt: skip
        return Answer(**{**nothing, **answer})

    return call
