"""Disks that do not suffice: told before the start, or in the middle without losing what came."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from esdctl.errors import StorageError
from tests.hub_server import HubServer
from tests.storage import small_disk
from tests.transfer.downloads import (
    REPO,
    ZIP_REPO,
    content_of,
    get,
    leftovers,
    some_files,
    tree_artifact,
    zip_artifact,
    zip_of,
)

FILES = some_files()


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.mark.parametrize("kind", ["tree", "zip"])
def test_a_disk_that_is_too_small_is_told_before_a_byte_moves(
    kind: str, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(REPO, dict(FILES))
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES)})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 4000, 4000))
    artifact = tree_artifact() if kind == "tree" else zip_artifact(hub)
    with pytest.raises(StorageError, match=r"needs [\d,]+ bytes of disk, 4,000 are free"):
        get(artifact, tmp_path, hub)
    assert leftovers(tmp_path) == []
    assert not (tmp_path / artifact.folder).exists()


@pytest.mark.parametrize("kind", ["tree", "zip"])
def test_a_disk_that_fills_in_the_middle_keeps_what_came(
    kind: str, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit(REPO, dict(FILES))
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES)})
    artifact = tree_artifact() if kind == "tree" else zip_artifact(hub)
    with small_disk.mounted(tmp_path / "disk") as disk:
        resize(disk, "4200k")
        monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 10**9))
        with pytest.raises(StorageError, match="No space left") as caught:
            get(artifact, disk, hub, connections=1)
        assert "are kept in" in caught.value.hint
        assert not (disk / artifact.folder).exists()
        before = sum(len(request.range) > 0 for request in hub.requests)
        resize(disk, "16m")
        assert content_of(get(artifact, disk, hub, connections=1)) == FILES
        after = sum(len(request.range) > 0 for request in hub.requests) - before
        assert after < before
        assert leftovers(disk) == []


@pytest.mark.parametrize("proof", ["members", "whole"])
def test_a_zip_needs_little_more_disk_than_its_files(
    proof: str, hub: HubServer, tmp_path: Path
) -> None:
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES)})
    with small_disk.mounted(tmp_path / "disk") as disk:
        resize(disk, f"{int(1.05 * sum(map(len, FILES.values()))) // 1024 + 160}k")  # and 20 inodes
        assert content_of(get(zip_artifact(hub), disk, hub, proof=proof)) == FILES


def test_a_folder_that_may_not_be_written_is_a_storage_error(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.commit(REPO, dict(FILES))
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StorageError):
        get(tree_artifact(), tmp_path, hub)


def resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
