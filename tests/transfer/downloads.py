"""What the tests of transfers share: artifacts, bytes, a reporter that remembers, what is left."""

import io
import random
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from esdctl.catalog.artifacts import Artifact, TreeSource, ZipSource
from esdctl.progress import Silent
from esdctl.storage.manifest import MANIFEST_NAME
from esdctl.transfer.fetch import fetch
from esdctl.transfer.options import TransferOptions
from esdctl.transfer.plan import plan_transfer
from tests.hub_server import HubServer

MIB = 2**20
REPO = "datasets/owner/set"
ZIP_REPO = "models/owner/zips"


@dataclass
class Remembering(Silent):
    """A Reporter that keeps what it is told."""

    notices: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    events: list[tuple[str, str, int]] = field(default_factory=list)

    def started(self, task: str, total: int, unit: str, done: int = 0) -> None:
        self.events.append(("started", task, total))

    def advanced(self, task: str, done: int, details: str = "") -> None:
        self.events.append(("advanced", task, done))

    def finished(self, task: str) -> None:
        self.events.append(("finished", task, 0))

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def warning(self, text: str) -> None:
        self.warnings.append(text)


def some_files(seed: int = 0) -> dict[str, bytes]:
    """A few files: large and small, deep and flat, empty, well and badly compressible."""
    draw = random.Random(seed)
    files = {
        "weights.bin": draw.randbytes(3 * MIB + 17),
        "unet/model.safetensors": draw.randbytes(MIB),
        "empty.txt": b"",
        "prompts/düne.csv": b"prompt\nsand\n" * 20_000,
    }
    files |= {f"pictures/{number}.jpg": draw.randbytes(4_000 + number) for number in range(12)}
    return files


def zip_of(files: dict[str, bytes], top: str = "", stored: tuple[str, ...] = ()) -> bytes:
    """A ZIP, deflated but for ``stored``, every name below the folder ``top``."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            method = zipfile.ZIP_STORED if name in stored else zipfile.ZIP_DEFLATED
            archive.writestr(f"{top}{name}", content, compress_type=method)
    return buffer.getvalue()


def tree_artifact(must_contain: tuple[str, ...] = (), include: tuple[str, ...] = ()) -> Artifact:
    source = TreeSource("owner/set", "dataset", include=include)
    return Artifact("set", "dataset", "", source, "data/set", must_contain, "files")


def zip_artifact(
    hub: HubServer, strip: str = "", must_contain: tuple[str, ...] = (), name: str = "all.zip"
) -> Artifact:
    source = ZipSource(hub.address(ZIP_REPO, name), strip)
    return Artifact("zipped", "model", "", source, "models/zipped", must_contain, "a ZIP")


def quick(hub: HubServer) -> TransferOptions:
    """Options for loopback: short waits, seeded."""
    return TransferOptions(
        connections=4, timeout=1.0, retries=8, endpoint=hub.endpoint, first_wait=0.01, seed=0
    )


def get(
    artifact: Artifact,
    root: Path,
    hub: HubServer,
    reporter: Remembering | None = None,
    refresh: bool = False,
    **changes: object,
) -> Path:
    """Plan and fetch."""
    options = replace(quick(hub), **changes)  # type: ignore[arg-type]
    reporter = reporter or Remembering()
    plan = plan_transfer(artifact, root, options, reporter)
    return fetch(plan, options, reporter, refresh=refresh)


def content_of(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder``, the manifest aside."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != MANIFEST_NAME
    }


def leftovers(root: Path) -> list[str]:
    """Whatever lies below ``root`` but published folders and empty locks."""
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if path.name.startswith(".")
        and path.name != MANIFEST_NAME
        and not (path.suffix == ".lock" and path.stat().st_size == 0)
    )
