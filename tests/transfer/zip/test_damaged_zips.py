"""An archive that is not what it says: refused, with nothing of it on the disk."""

import struct
import zipfile
from pathlib import Path

import pytest

from esdctl.errors import IntegrityError, NetworkError
from tests.hub_server import HubServer
from tests.transfer.downloads import ZIP_REPO, get, leftovers, some_files, zip_artifact, zip_of

FILES = some_files()


def serve(hub: HubServer, archive: bytes) -> None:
    hub.commit(ZIP_REPO, {"all.zip": archive})


def refused(hub: HubServer, root: Path, message: str, **options: object) -> None:
    """Fetching raises IntegrityError, and leaves nothing but the empty lock."""
    with pytest.raises(IntegrityError, match=message):
        get(zip_artifact(hub), root, hub, **options)  # type: ignore[arg-type]
    assert leftovers(root) == []
    files = [path for path in root.rglob("*") if path.is_file()]
    assert [path.name for path in files if path.suffix != ".lock"] == []


def central(archive: bytes, name: str) -> int:
    """Where the directory's entry of a member begins."""
    return archive.rindex(b"PK\1\2", 0, archive.rindex(name.encode()))


def with_crc(archive: bytes, name: str, crc32: int) -> bytes:
    """The archive with another CRC32 of one member, in both of its headers."""
    changed, at = bytearray(archive), central(archive, name)
    struct.pack_into("<L", changed, at + 16, crc32)
    struct.pack_into("<L", changed, archive.index(name.encode()) - 30 + 14, crc32)
    return bytes(changed)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wrong_checksum_is_refused(method: int, hub: HubServer, tmp_path: Path) -> None:
    stored = ("weights.bin",) if method == zipfile.ZIP_STORED else ()
    serve(hub, with_crc(zip_of(FILES, stored=stored), "weights.bin", 123))
    refused(hub, tmp_path, r"weights\.bin.*CRC32")


@pytest.mark.parametrize("name", ["weights.bin", "pictures/5.jpg"])
def test_packed_bytes_that_are_damaged_are_refused(
    name: str, hub: HubServer, tmp_path: Path
) -> None:
    archive = bytearray(zip_of(FILES))
    archive[archive.index(name.encode()) + len(name) + 2000] ^= 0x10
    serve(hub, bytes(archive))
    refused(hub, tmp_path, name.replace(".", r"\."))


@pytest.mark.parametrize("delta", [-1, 1])
def test_a_member_that_unpacks_to_another_size_is_refused(
    delta: int, hub: HubServer, tmp_path: Path
) -> None:
    archive = bytearray(zip_of(FILES))
    size = len(FILES["weights.bin"]) + delta
    struct.pack_into("<L", archive, central(bytes(archive), "weights.bin") + 24, size)
    struct.pack_into("<L", archive, archive.index(b"weights.bin") - 30 + 22, size)
    serve(hub, bytes(archive))
    refused(hub, tmp_path, r"weights\.bin")


def test_a_local_header_that_disagrees_is_refused(hub: HubServer, tmp_path: Path) -> None:
    archive = bytearray(zip_of(FILES))
    archive[archive.index(b"weights.bin")] = ord("v")
    serve(hub, bytes(archive))
    refused(hub, tmp_path, r"local header")


@pytest.mark.parametrize("archive", [b"", b"not a ZIP" * 3000, zip_of(FILES)[:-1]])
def test_what_is_no_archive_is_refused_before_anything_is_written(
    archive: bytes, hub: HubServer, tmp_path: Path
) -> None:
    serve(hub, archive)
    with pytest.raises((IntegrityError, NetworkError)):
        get(zip_artifact(hub), tmp_path, hub)
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_is_refused_before_a_byte_is_unpacked(hub: HubServer, tmp_path: Path) -> None:
    serve(hub, zip_of({"zeros.bin": bytes(60_000_000)}))
    with pytest.raises(IntegrityError, match="bomb"):
        get(zip_artifact(hub), tmp_path, hub)
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_the_manifest_is_refused(hub: HubServer, tmp_path: Path) -> None:
    serve(hub, zip_of(FILES | {".esdctl-manifest.json": b"{}"}))
    refused(hub, tmp_path, "manifest")


def test_a_proof_needs_a_servers_digest(hub: HubServer, tmp_path: Path) -> None:
    serve(hub, zip_of({"tiny.txt": b"tiny"}))  # so small that the hub tells none
    with pytest.raises(NetworkError, match="does not tell the archive's sha256"):
        get(zip_artifact(hub), tmp_path, hub, proof="whole")


def test_a_hostile_archive_of_a_server_without_ranges_leaves_nothing(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.has_ranges = False
    serve(hub, with_crc(zip_of(FILES), "weights.bin", 123))
    refused(hub, tmp_path, "CRC32")
    serve(hub, b"not a ZIP" * 3000)
    refused(hub, tmp_path, "no ZIP")
