"""What a refused fetch leaves behind: nothing but the target's parent folder and its lock."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from esdctl.catalog.artifacts import Artifact, TreeSource, ZipSource
from esdctl.progress import Silent
from esdctl.transfer.fetch import fetch
from esdctl.transfer.options import TransferOptions
from esdctl.transfer.plan import plan_transfer
from tests.hub_server import HubServer

TRACES = {"root/models", "root/models/.refused.lock"}


def surround(folder: Path) -> Path:
    """Make a root inside ``folder``, with files around it that an escaping one would meet."""
    (folder / "root").mkdir()
    for name in ("outside.txt", "root/outside.txt", "root/b.txt"):
        (folder / name).write_text("mine")
    return folder


@contextmanager
def leaving_no_trace(folder: Path) -> Iterator[None]:
    """Assert that the block changes nothing below ``folder`` but for ``TRACES``."""
    before = snapshot(folder)
    yield
    after = snapshot(folder)
    assert {path: after.get(path) for path in before} == before
    assert set(after) - set(before) <= TRACES


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Everything below ``folder``: each path, and the bytes of what is a file."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def fetch_as_user(hub: HubServer, source: ZipSource | TreeSource, surroundings: Path) -> Path:
    """Plan and fetch into ``models/refused`` of the root."""
    artifact = Artifact("refused", "model", "", source, "models/refused", (), "an attack")
    options = TransferOptions(endpoint=hub.endpoint, retries=0, timeout=5, connections=2)
    plan = plan_transfer(artifact, surroundings / "root", options, Silent())
    return fetch(plan, options, Silent())
