"""A single file of the catalogue: the digest that it tells has to be that of the bytes."""

import hashlib
from pathlib import Path

import pytest

from esdctl.catalog.artifacts import Artifact, FileSource
from esdctl.errors import IntegrityError
from esdctl.storage.manifest import read_manifest
from esdctl.transfer.fetch import repair
from tests.hub_server import HubServer
from tests.transfer.downloads import Remembering, content_of, get, leftovers, quick

REPO = "models/owner/weights"
LARGE, SMALL = bytes(range(256)) * 9000, b"a few weights"  # the hub tells large files' digests
OTHER = "0" * 64


def artifact_of(hub: HubServer, content: bytes, sha256: str = "") -> Artifact:
    hub.commit(REPO, {"net-1234.pth": content})
    source = FileSource(hub.address(REPO, "net-1234.pth"), sha256)
    return Artifact("net", "model", "", source, "models/fidelity/net", ("net-1234.pth",), "")


@pytest.mark.parametrize("content", [LARGE, SMALL], ids=["large", "small"])
@pytest.mark.parametrize("has_digest", [True, False])
@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_file_arrives_under_the_last_part_of_its_address(
    content: bytes, has_digest: bool, has_ranges: bool, hub: HubServer, tmp_path: Path
) -> None:
    hub.has_ranges = has_ranges
    digest = hashlib.sha256(content).hexdigest()
    folder = get(artifact_of(hub, content, digest if has_digest else ""), tmp_path, hub)
    assert content_of(folder) == {"net-1234.pth": content}
    manifest = read_manifest(folder)
    assert manifest is not None
    assert [entry.sha256 for entry in manifest.files] == [digest]
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(LARGE, f"has the sha256 [0-9a-f]+, not {OTHER}"), (SMALL, f"do not have the digest {OTHER}")],
    ids=["the hub tells another digest", "the bytes have another digest"],
)
def test_another_file_than_the_catalogues_is_refused(
    content: bytes, words: str, hub: HubServer, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError, match=words):
        get(artifact_of(hub, content, OTHER), tmp_path, hub)
    assert not (tmp_path / "models/fidelity/net").exists()


def test_a_finished_file_is_asked_for_no_more_and_a_damaged_one_is_mended(
    hub: HubServer, tmp_path: Path
) -> None:
    artifact = artifact_of(hub, LARGE, hashlib.sha256(LARGE).hexdigest())
    folder = get(artifact, tmp_path, hub)
    count, reporter = len(hub.requests), Remembering()
    get(artifact, tmp_path, hub, reporter, offline=True)
    assert len(hub.requests) == count
    (folder / "net-1234.pth").write_bytes(b"damaged")
    repair(artifact, tmp_path, ["net-1234.pth"], quick(hub), reporter)
    assert content_of(folder) == {"net-1234.pth": LARGE}
