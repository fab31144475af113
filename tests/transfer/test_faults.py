"""Whatever happens on the way, what arrives is right, or nothing is published."""

from pathlib import Path

import pytest

from esdctl.errors import IntegrityError, NetworkError
from tests.hub_faults import Fault
from tests.hub_server import HubServer
from tests.transfer.downloads import (
    REPO,
    ZIP_REPO,
    Remembering,
    content_of,
    get,
    leftovers,
    some_files,
    tree_artifact,
    zip_artifact,
    zip_of,
)

FILES = some_files()
BLOB = r"^/[0-9a-f]{64}$"  # at the storage
PASSING = [
    Fault("reset"),
    Fault("stall"),
    Fault("truncate"),
    Fault("truncate", at=0.0),
    Fault("wrong-range"),
    Fault("expired"),
    Fault("status", 408),
    Fault("status", 429, retry_after="0"),
    Fault("status", 429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"),
    Fault("status", 500),
    Fault("status", 503, retry_after="1"),
    Fault("web-page"),
    Fault("gzip"),
    Fault("more"),
    Fault("flip"),
]


def name_of(fault: Fault) -> str:
    return f"{fault.kind}-{fault.status}-{fault.retry_after[:3]}-{fault.at}"


@pytest.mark.parametrize("fault", PASSING, ids=name_of)
def test_a_tree_survives(fault: Fault, hub: HubServer, tmp_path: Path) -> None:
    hub.commit(REPO, dict(FILES))
    hub.misbehave([(BLOB, 5, fault)])
    folder = get(tree_artifact(), tmp_path, hub)
    assert hub.script.happened == [fault.kind]
    assert content_of(folder) == FILES
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(("proof", "nth"), [("members", 9), ("whole", 4)])
@pytest.mark.parametrize("fault", PASSING, ids=name_of)
def test_a_zip_survives(fault: Fault, nth: int, proof: str, hub: HubServer, tmp_path: Path) -> None:
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES, stored=("unet/model.safetensors",))})
    hub.misbehave([(BLOB, nth, fault)])
    folder = get(zip_artifact(hub), tmp_path, hub, proof=proof)
    assert hub.script.happened == [fault.kind]
    assert content_of(folder) == FILES
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("kind", ["reset", "truncate", "status", "gzip"])
def test_the_first_answers_are_asked_for_again(
    kind: str, nth: int, hub: HubServer, tmp_path: Path
) -> None:
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES)})
    hub.misbehave([("", nth, Fault(kind))])
    assert content_of(get(zip_artifact(hub), tmp_path, hub)) == FILES


def test_an_expired_address_is_resolved_again(hub: HubServer, tmp_path: Path) -> None:
    hub.lifetime = 0.3
    hub.rate = 2_000_000
    hub.commit(REPO, dict(FILES))
    folder = get(tree_artifact(), tmp_path, hub, connections=2)
    assert content_of(folder) == FILES
    refused = [request for request in hub.requests if request.status == 403]
    resolved = [r for r in hub.requests if r.path.endswith("/weights.bin") and r.status == 302]
    assert refused
    assert len(resolved) >= 2


@pytest.mark.parametrize("kind", ["tree", "zip"])
def test_a_file_that_changes_half_way_is_fetched_from_its_new_beginning(
    kind: str, hub: HubServer, tmp_path: Path
) -> None:
    hub.commit(REPO, dict(FILES))
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES)})
    hub.misbehave([(BLOB, 7, Fault("etag"))])
    reporter = Remembering()
    artifact = tree_artifact() if kind == "tree" else zip_artifact(hub)
    assert content_of(get(artifact, tmp_path, hub, reporter)) == FILES
    assert any("starting again" in text for text in reporter.warnings + reporter.notices)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("kind", ["tree", "zip"])
@pytest.mark.parametrize("nth", [0, 6])
def test_a_server_that_ignores_range_is_read_from_the_beginning(
    kind: str, nth: int, hub: HubServer, tmp_path: Path
) -> None:
    hub.commit(REPO, dict(FILES))
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES)})
    hub.misbehave([(BLOB, nth, Fault("ignore-range"))])
    artifact = tree_artifact() if kind == "tree" else zip_artifact(hub)
    assert content_of(get(artifact, tmp_path, hub)) == FILES
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("kind", ["tree", "zip"])
def test_a_content_network_that_refuses_ranges_is_read_from_the_beginning(
    kind: str, hub: HubServer, tmp_path: Path
) -> None:
    hub.commit(REPO, dict(FILES))
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES)})
    hub.misbehave([(BLOB, 0, Fault("refuse-range"))])
    artifact = tree_artifact() if kind == "tree" else zip_artifact(hub)
    assert content_of(get(artifact, tmp_path, hub)) == FILES


@pytest.mark.parametrize("has_ranges", [True, False])
def test_bytes_that_are_wrong_again_and_again_are_refused(
    has_ranges: bool, hub: HubServer, tmp_path: Path
) -> None:
    hub.has_ranges = has_ranges
    hub.commit(REPO, dict(FILES))
    hub.misbehave([(BLOB, 0, Fault("flip"))])
    with pytest.raises(IntegrityError, match="digest"):
        get(tree_artifact(), tmp_path, hub)
    assert leftovers(tmp_path) == []
    assert not (tmp_path / "data/set").exists()


def test_a_small_file_is_held_against_gits_digest(hub: HubServer, tmp_path: Path) -> None:
    hub.commit(REPO, {"small.txt": b"small" * 100})
    hub.misbehave([(r"small\.txt", 0, Fault("flip"))])
    with pytest.raises(IntegrityError, match=r"small\.txt"):
        get(tree_artifact(), tmp_path, hub)


def test_giving_up_names_address_status_attempts_and_what_is_kept(
    hub: HubServer, tmp_path: Path
) -> None:
    hub.commit(REPO, {"weights.bin": FILES["weights.bin"]})
    faults = [(BLOB, nth, Fault("status", 503)) for nth in range(4, 40)]
    hub.misbehave(faults)
    with pytest.raises(NetworkError, match=r"127\.0\.0\.1:\d+/[0-9a-f]{64}: status 503") as caught:
        get(tree_artifact(), tmp_path, hub, retries=3)
    assert "attempts)" in caught.value.message
    assert "Signature" not in caught.value.message + caught.value.hint
    assert "are kept in" in caught.value.hint
    assert not (tmp_path / "data/set").exists()


def test_what_was_kept_is_not_asked_for_again(hub: HubServer, tmp_path: Path) -> None:
    hub.commit(REPO, {"weights.bin": FILES["weights.bin"]})
    hub.misbehave([(BLOB, nth, Fault("status", 503)) for nth in range(5, 40)])
    with pytest.raises(NetworkError):
        get(tree_artifact(), tmp_path, hub, retries=1, connections=1)
    hub.misbehave([])
    before = len(hub.requests)
    assert get(tree_artifact(), tmp_path, hub, connections=1)
    asked = [r.range for r in hub.requests[before:] if r.host == "127.0.0.1"]
    assert asked[0] == "bytes=2097152-2621439"  # four pieces of 512 KiB were durable


@pytest.mark.parametrize("status", [401, 404, 410])
def test_a_refusal_for_good_is_not_retried(status: int, hub: HubServer, tmp_path: Path) -> None:
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES)})
    hub.misbehave([("resolve", 0, Fault("status", status))])
    with pytest.raises(NetworkError, match=f"status {status}"):
        get(zip_artifact(hub), tmp_path, hub)
    assert len(hub.requests) == 1


def test_a_web_page_in_place_of_a_zip_is_refused(hub: HubServer, tmp_path: Path) -> None:
    hub.commit(ZIP_REPO, {"all.zip": zip_of(FILES)})
    hub.misbehave([("", 0, Fault("web-page"))])
    with pytest.raises(NetworkError, match="a web page"):
        get(zip_artifact(hub), tmp_path, hub)
    assert list(tmp_path.rglob("*")) == []
