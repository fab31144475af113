"""A manifest tells what a folder holds, and knows when it was damaged itself."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import pytest

from esdctl.errors import InputError
from esdctl.storage.manifest import (
    MANIFEST_NAME,
    FileEntry,
    Manifest,
    read_manifest,
    write_manifest,
)

FILES = (FileEntry("a/ü.jpg", 3, "ab" * 32), FileEntry("z.csv", 0, "cd" * 32))
MANIFEST = Manifest("i2p-sample", "https://hub.test/i2p.zip", "4f3e", FILES)


def write_document(folder: Path, **changes: object) -> None:
    """A manifest with a right sha256 of its own and other content."""
    write_manifest(folder, MANIFEST)
    content = json.loads((folder / MANIFEST_NAME).read_text())
    del content["sha256"]
    content.update(changes)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / MANIFEST_NAME).write_text(json.dumps(content))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_manifest(tmp_path, Manifest("i2p-sample", MANIFEST.source, "4f3e", FILES[::-1]))
    assert read_manifest(tmp_path) == MANIFEST
    assert MANIFEST.size == 3


def test_a_folder_without_one_has_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    assert read_manifest(tmp_path / "missing") is None


def test_any_flipped_bit_is_noticed(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    path = tmp_path / MANIFEST_NAME
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with suppress(InputError):  # or the flip made another blank of a blank
            assert read_manifest(tmp_path) == MANIFEST, place


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", "./a", "a/../../b", "", "a/."])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    write_document(tmp_path, files=[{"path": path, "size": 1, "sha256": "ab" * 32}])
    with pytest.raises(InputError, match="not allowed"):
        read_manifest(tmp_path)


def test_a_file_that_is_listed_twice_is_refused(tmp_path: Path) -> None:
    entry = {"path": "a", "size": 1, "sha256": "ab" * 32}
    write_document(tmp_path, files=[entry, entry])
    with pytest.raises(InputError, match="listed twice"):
        read_manifest(tmp_path)


def test_a_wrong_type_is_named_with_its_place(tmp_path: Path) -> None:
    write_document(tmp_path, files=[{"path": "a", "size": "many", "sha256": "ab" * 32}])
    with pytest.raises(InputError, match=r"files\.0\.size"):
        read_manifest(tmp_path)


def test_another_format_is_refused(tmp_path: Path) -> None:
    write_document(tmp_path, format="esdctl-manifest-2")
    with pytest.raises(InputError, match="format"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "<html>", "\x00\xff", "[" * 100_000])
def test_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST_NAME).write_text(text)
    with pytest.raises(InputError, match="damaged"):
        read_manifest(tmp_path)
