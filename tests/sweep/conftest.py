"""A sweep of two erasures of the pocket model, so small that a job takes seconds."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from esdctl.cli.app import run

PROTOCOL = Path(__file__).parent / "four_pictures.yaml"


@dataclass(frozen=True)
class Done:
    """How a command line ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def run_esdctl(*arguments: str | Path) -> Done:
    """A command line in this process; the workers of a sweep are processes of their own."""
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        status = run([str(word) for word in arguments])
    return Done(status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mosaic and Dogs, the closed form and a step."""
    folder = tmp_path_factory.mktemp("plan")
    path = folder / "sweep.jsonl"
    done = run_esdctl(
        "sweep", "plan", "--concept", "Mosaic", "--concept", "Dogs", "--model", "pocket",
        "--set", "iterations=1", "--protocol", PROTOCOL,
        "-o", path, "--root", folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{path}\n"
    return path


@pytest.fixture(scope="session")
def swept(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which two local workers did all of it."""
    root = tmp_path_factory.mktemp("swept")
    done = run_esdctl("sweep", "run", manifest, "--workers", "2", "--root", root)
    assert done.returncode == 0, done.stderr
    return root


def outcomes(manifest: Path, root: Path) -> dict[str, tuple[object, ...]]:
    """What does not depend on time and place of each finished job."""
    done = run_esdctl("sweep", "results", manifest, "--json", "--quiet", "--root", root)
    assert done.returncode == 0, done.stderr
    found = {}
    for job in json.loads(done.stdout)["jobs"]:
        result = next(root.glob(f"outputs/sweep/*/{job['job']}/result.json"))
        digest = json.loads(result.read_text())["delta_sha256"]
        found[job["concept"]] = (job["ua"], job["ira"], job["cra"], digest)
    return found
