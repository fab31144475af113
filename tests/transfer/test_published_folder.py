"""A finished download is the source, bit for bit, with its manifest and nothing else."""

import hashlib
from pathlib import Path

import pytest

from esdctl.errors import InputError, IntegrityError
from esdctl.storage.manifest import read_manifest
from esdctl.transfer.fetch import repair
from esdctl.transfer.plan import plan_transfer
from tests.hub_server import HubServer
from tests.transfer.downloads import (
    REPO,
    ZIP_REPO,
    Remembering,
    content_of,
    get,
    leftovers,
    quick,
    some_files,
    tree_artifact,
    zip_artifact,
    zip_of,
)

FILES = some_files()


@pytest.mark.parametrize("connections", [1, 8])
def test_a_tree_arrives_as_it_is(connections: int, hub: HubServer, tmp_path: Path) -> None:
    hub.page_size = 5
    hub.commit(REPO, dict(FILES))
    folder = get(tree_artifact(), tmp_path, hub, connections=connections)
    assert folder == tmp_path / "data/set"
    assert content_of(folder) == FILES
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("connections", [1, 8])
@pytest.mark.parametrize("stored", [(), ("weights.bin",)])
@pytest.mark.parametrize("proof", ["members", "whole"])
def test_a_zip_arrives_unpacked(
    connections: int, stored: tuple[str, ...], proof: str, hub: HubServer, tmp_path: Path
) -> None:
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES, "sample/", stored)})
    artifact = zip_artifact(hub, strip="sample", must_contain=("prompts/düne.csv",))
    folder = get(artifact, tmp_path, hub, connections=connections, proof=proof)
    assert content_of(folder) == FILES
    assert leftovers(tmp_path) == []


def test_the_manifest_lists_every_file_with_its_sha256(hub: HubServer, tmp_path: Path) -> None:
    commit = hub.commit(REPO, dict(FILES))
    manifest = read_manifest(get(tree_artifact(), tmp_path, hub))
    assert manifest is not None
    assert (manifest.name, manifest.revision) == ("set", commit)
    assert {entry.path: entry.sha256 for entry in manifest.files} == {
        name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()
    }


def test_only_files_that_match_are_fetched(hub: HubServer, tmp_path: Path) -> None:
    hub.commit(REPO, dict(FILES))
    folder = get(tree_artifact(include=("pictures/*", "*.csv")), tmp_path, hub)
    assert set(content_of(folder)) == {n for n in FILES if n.startswith(("pictures/", "prompts/"))}


def test_a_finished_download_makes_no_request(hub: HubServer, tmp_path: Path) -> None:
    hub.commit(REPO, dict(FILES))
    get(tree_artifact(), tmp_path, hub)
    count, reporter = len(hub.requests), Remembering()
    get(tree_artifact(), tmp_path, hub, reporter, offline=True)
    assert len(hub.requests) == count
    assert "already complete" in reporter.notices[-1]


def test_refresh_replaces_the_folder_only_by_a_newer_one(hub: HubServer, tmp_path: Path) -> None:
    hub.commit(REPO, dict(FILES))
    folder = get(tree_artifact(), tmp_path, hub)
    before = folder.stat().st_ino
    get(tree_artifact(), tmp_path, hub, refresh=True)
    assert folder.stat().st_ino == before
    hub.commit(REPO, {"new.txt": b"new"})
    get(tree_artifact(), tmp_path, hub, refresh=True)
    assert content_of(folder) == {"new.txt": b"new"}
    assert leftovers(tmp_path) == []


def test_a_target_that_is_a_link_is_filled_where_it_points(hub: HubServer, tmp_path: Path) -> None:
    hub.commit(REPO, dict(FILES))
    big_disk = tmp_path / "big/set"
    big_disk.mkdir(parents=True)
    (tmp_path / "root/data").mkdir(parents=True)
    (tmp_path / "root/data/set").symlink_to(big_disk)
    get(tree_artifact(), tmp_path / "root", hub)
    assert content_of(big_disk) == FILES
    assert (tmp_path / "root/data/set").is_symlink()


def test_a_kill_between_the_renames_of_a_refresh_loses_nothing(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.commit(REPO, dict(FILES))
    folder = get(tree_artifact(), tmp_path, hub)
    folder.rename(folder.with_name(".set.staging.old"))
    assert content_of(get(tree_artifact(), tmp_path, hub)) == FILES
    assert leftovers(tmp_path) == []


def test_a_file_that_went_missing_is_fetched_alone(hub: HubServer, tmp_path: Path) -> None:
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES)})
    folder = get(zip_artifact(hub), tmp_path, hub)
    (folder / "pictures/3.jpg").unlink()
    moved = len(hub.requests)
    get(zip_artifact(hub), tmp_path, hub)
    assert content_of(folder) == FILES
    assert len(hub.requests) - moved < 8  # address, directory, one member


@pytest.mark.parametrize("kind", ["tree", "zip"])
def test_repair_mends_a_flipped_byte(kind: str, hub: HubServer, tmp_path: Path) -> None:
    hub.commit(REPO, dict(FILES))
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES)})
    artifact = tree_artifact() if kind == "tree" else zip_artifact(hub)
    folder = get(artifact, tmp_path, hub)
    damaged = bytearray(FILES["weights.bin"])
    damaged[1234] ^= 4
    (folder / "weights.bin").write_bytes(damaged)
    repair(artifact, tmp_path, ["weights.bin"], quick(hub), Remembering())
    assert content_of(folder) == FILES
    assert leftovers(tmp_path) == []


def test_repair_keeps_to_the_manifest_when_the_server_moved_on(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.commit(ZIP_REPO, {"all.zip": zip_of({"a.txt": b"old", "b.txt": b"b"})})
    folder = get(zip_artifact(hub), tmp_path, hub)
    hub.commit(ZIP_REPO, {"all.zip": zip_of({"a.txt": b"new", "b.txt": b"b"})})
    with pytest.raises(IntegrityError, match=r"another a\.txt") as caught:
        repair(zip_artifact(hub), tmp_path, ["a.txt"], quick(hub), Remembering())
    assert "--refresh" in caught.value.hint
    assert content_of(folder) == {"a.txt": b"old", "b.txt": b"b"}
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("kind", ["tree", "zip"])
def test_a_source_without_the_promised_file_leaves_nothing(
    kind: str, hub: HubServer, tmp_path: Path
) -> None:
    hub.commit(REPO, dict(FILES))
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES)})
    missing = ("style50/compvis.ckpt",)
    artifact = tree_artifact(missing) if kind == "tree" else zip_artifact(hub, "", missing)
    with pytest.raises(IntegrityError, match=r"lacks style50/compvis\.ckpt"):
        get(artifact, tmp_path, hub)
    assert list(tmp_path.rglob("*")) == []


def test_a_folder_of_the_user_is_never_replaced(hub: HubServer, tmp_path: Path) -> None:
    hub.commit(REPO, dict(FILES))
    mine = tmp_path / "data/set/mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"holds mine\.txt"):
        get(tree_artifact(), tmp_path, hub)
    assert mine.read_text() == "mine"


def test_the_plan_tells_bytes_place_and_disk(hub: HubServer, tmp_path: Path) -> None:
    archive = zip_of(FILES)
    hub.commit(ZIP_REPO, {"all.zip": archive})
    plan = plan_transfer(zip_artifact(hub), tmp_path, quick(hub), Remembering())
    unpacked = sum(map(len, FILES.values()))
    assert (plan.bytes_to_move, plan.unpacked, plan.files) == (len(archive), unpacked, len(FILES))
    assert unpacked <= plan.peak_disk <= 1.05 * unpacked
    assert plan.target == tmp_path / "models/zipped"
    assert not plan.is_finished
    assert list(tmp_path.iterdir()) == []
    assert sum(len(request.range) > 0 for request in hub.requests) <= 4


def test_progress_has_a_total_and_ends_all_that_began(hub: HubServer, tmp_path: Path) -> None:
    files = {"large.bin": b"\1" * 9_000_000, "small.bin": b"\2" * 20_000}
    hub.commit(REPO, dict(files))
    reporter = Remembering()
    get(tree_artifact(), tmp_path, hub, reporter)
    begun = [task for event, task, _ in reporter.events if event == "started"]
    assert sorted(begun) == ["large.bin", "set"]
    assert sorted(task for event, task, _ in reporter.events if event == "finished") == sorted(
        begun
    )
    assert ("advanced", "set", 9_020_000) in reporter.events


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out", "CON", "a\\b"])
def test_a_hostile_name_in_a_listing_is_refused(name: str, hub: HubServer, tmp_path: Path) -> None:
    hub.commit(REPO, {"fine.txt": b"fine", name: b"bad"})
    with pytest.raises(IntegrityError):
        get(tree_artifact(), tmp_path / "root", hub)
    assert list(tmp_path.rglob("*")) == []
