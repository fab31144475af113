"""A file or folder is visible when it is complete, or not at all."""

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from esdctl.errors import StorageError
from esdctl.storage.atomic import publishing_folder, write_bytes, write_json, write_text, write_with
from tests.storage import small_disk

TOO_MUCH = b"x" * 200_000


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_json_is_written_with_its_parent_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "run.json"
    write_json(path, {"concept": "Düne", "steps": 3})
    assert path.read_text() == '{\n  "concept": "Düne",\n  "steps": 3\n}\n'


def test_json_refuses_what_json_cannot_say(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "run.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_writer_gets_a_path_beside_with_the_same_suffix(tmp_path: Path) -> None:
    seen: list[Path] = []

    def writer(partial: Path) -> None:
        seen.append(partial)
        partial.write_bytes(b"new")

    write_with(tmp_path / "model.safetensors", writer)
    assert (seen[0].parent, seen[0].suffix) == (tmp_path, ".safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_the_old_content(
    failure: type[BaseException], tmp_path: Path
) -> None:
    path = tmp_path / "state.json"
    write_text(path, "old")

    def writer(partial: Path) -> None:
        partial.write_text("half of the ne")
        raise failure

    with pytest.raises(failure):
        write_with(path, writer)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_too_large_for_the_limit_is_a_storage_error(tmp_path: Path) -> None:
    path = tmp_path / "state.bin"
    write_bytes(path, b"old")
    with file_size_limit(1000), pytest.raises(StorageError, match=r"state\.bin"):
        write_bytes(path, TOO_MUCH)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_storage_error_and_keeps_the_old_content(tmp_path: Path) -> None:
    with small_disk.mounted(tmp_path / "disk") as disk:
        write_bytes(disk / "state.bin", b"old")
        with pytest.raises(StorageError, match="No space left") as caught:
            write_bytes(disk / "state.bin", TOO_MUCH)
        assert "free some space" in caught.value.hint
        assert (disk / "state.bin").read_bytes() == b"old"
        assert list(disk.iterdir()) == [disk / "state.bin"]


def test_a_read_only_disk_is_a_storage_error(tmp_path: Path) -> None:
    with small_disk.mounted(tmp_path / "disk") as disk:
        small_disk.make_read_only(disk)
        with pytest.raises(StorageError, match="Read-only"):
            write_bytes(disk / "run" / "state.bin", b"new")


@pytest.mark.parametrize("below", ["state.bin", "deep/state.bin"])
def test_a_file_in_place_of_a_folder_is_a_storage_error(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"):
        write_bytes(tmp_path / "file" / below, b"new")


@pytest.mark.parametrize(
    "words",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",
        "[enforce fail at inline_container.cc:672] . unexpected pos 832 vs 726",
        "basic_ios::clear: iostream error",
    ],
)
def test_a_full_disk_is_known_by_the_words_of_safetensors_and_torch(
    words: str, tmp_path: Path
) -> None:
    def writer(partial: Path) -> None:
        partial.write_bytes(b"half")
        raise RuntimeError(words)

    with pytest.raises(StorageError):
        write_with(tmp_path / "model.pt", writer)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "dogs"
    with publishing_folder(target) as staging:
        (staging / "samples").mkdir()
        (staging / "samples" / "0.png").write_bytes(b"png")
        assert not target.exists()
    assert (target / "samples" / "0.png").read_bytes() == b"png"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_that_fails_never_appears(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), publishing_folder(tmp_path / "dogs") as staging:
        (staging / "half").touch()
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_others_may_read_what_safetensors_wrote_as_they_may_any_file(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        save_file({"a": np.ones(1)}, path)

    write_with(tmp_path / "a.safetensors", write)
    with publishing_folder(tmp_path / "folder") as staging:
        write(staging / "a.safetensors")
    (tmp_path / "usual").touch()
    usual = (tmp_path / "usual").stat().st_mode
    for name in ("a.safetensors", "folder/a.safetensors"):
        assert (tmp_path / name).stat().st_mode == usual


def test_a_folder_is_never_published_over_another(tmp_path: Path) -> None:
    (tmp_path / "dogs").mkdir()
    (tmp_path / "dogs" / "kept").touch()
    with (
        pytest.raises(StorageError, match="dogs"),
        publishing_folder(tmp_path / "dogs") as staging,
    ):
        (staging / "new").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["dogs", "kept"]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from esdctl.storage.atomic import publishing_folder\n"
        "with publishing_folder(Path(sys.argv[1])) as staging:\n"
        "    (staging / 'half').touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "dogs")])
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.rglob("*")][-1] == "half"
    assert not (tmp_path / "dogs").exists()

    with publishing_folder(tmp_path / "dogs") as staging:
        (staging / "whole").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["dogs", "whole"]
