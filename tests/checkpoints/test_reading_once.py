"""A pickle is converted once: the copy lies beside it and is trusted for the same bytes alone."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from esdctl.checkpoints.pickles import conversion
from esdctl.checkpoints.tensor_file import open_tensors
from esdctl.errors import InputError, StorageError
from esdctl.progress import Silent
from esdctl.storage.atomic import write_with
from esdctl.storage.digest import sha256_file


class Listener(Silent):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.done: list[int] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def advanced(self, task: str, done: int, details: str = "") -> None:
        self.done.append(done)


def save(path: Path, value: float = 1.0) -> Path:
    torch.save({"state_dict": {"a": torch.full((3, 5), value), "b": torch.ones(2).half()}}, path)
    return path


def cache_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{sha256_file(path)[:16]}.safetensors")


def test_the_second_opening_uses_the_copy(tmp_path: Path) -> None:
    path = save(tmp_path / "model.ckpt")
    first, second = Listener(), Listener()
    open_tensors(path, first)
    assert cache_of(path).is_file()
    assert first.done == [60, 64]
    opened = open_tensors(path, second)
    assert len(first.notices) == 1
    assert not second.notices
    assert not second.done
    assert opened.path == path
    assert torch.equal(opened.read("a"), torch.ones(3, 5))


def test_a_copied_checkpoint_with_its_cache_is_not_converted_again(tmp_path: Path) -> None:
    path = save(tmp_path / "model.ckpt")
    open_tensors(path)
    os.utime(path, ns=(1, 1))
    listener = Listener()
    open_tensors(path, listener)
    assert not listener.done


def test_another_checkpoint_under_the_same_name_is_converted(tmp_path: Path) -> None:
    path = save(tmp_path / "model.ckpt")
    open_tensors(path)
    save(path, 2.0)
    assert torch.equal(open_tensors(path).read("a"), torch.full((3, 5), 2.0))


def test_a_cache_of_other_tensors_is_not_believed(tmp_path: Path) -> None:
    path = save(tmp_path / "model.ckpt")
    open_tensors(path)
    other = tmp_path / "other.ckpt"
    torch.save({"evil": torch.zeros(1)}, other)
    open_tensors(other)
    shutil.copy(cache_of(other), cache_of(path))
    assert torch.equal(open_tensors(path).read("a"), torch.ones(3, 5))


def test_a_damaged_cache_is_made_again(tmp_path: Path) -> None:
    path = save(tmp_path / "model.ckpt")
    open_tensors(path)
    cache_of(path).write_bytes(cache_of(path).read_bytes()[:-1])
    assert torch.equal(open_tensors(path).read("b"), torch.ones(2).half())


def test_reading_maps_and_copies_nothing(tmp_path: Path) -> None:
    opened = open_tensors(save(tmp_path / "model.ckpt"))
    assert opened.read("a").data_ptr() == opened.read("a").data_ptr()


def test_a_folder_that_cannot_be_written_gets_a_copy_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "temporary"
    path = save(tmp_path / "model.ckpt")
    monkeypatch.setattr(conversion, "_TEMPORARY", elsewhere)

    def refuse(target: Path, writer: Callable[[Path], None]) -> None:
        if target.parent == tmp_path:
            raise StorageError("read-only") from OSError(errno.EROFS, "read-only")
        write_with(target, writer)

    monkeypatch.setattr(conversion, "write_with", refuse)
    opened = open_tensors(path)
    assert torch.equal(opened.read("a"), torch.ones(3, 5))
    assert (elsewhere / cache_of(path).name).is_file()
    listener = Listener()
    open_tensors(path, listener)
    assert not listener.notices


def test_a_temporary_folder_of_someone_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    elsewhere.chmod(0o777)
    monkeypatch.setattr(conversion, "_TEMPORARY", elsewhere)

    def refuse(target: Path, writer: object) -> None:
        raise StorageError("read-only") from OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(conversion, "write_with", refuse)
    with pytest.raises(StorageError, match="can be written by others"):
        open_tensors(save(tmp_path / "model.ckpt"))


def test_a_checkpoint_that_changes_meanwhile_is_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "model.ckpt")

    def digest(path: Path) -> str:
        os.utime(path, ns=(1, 1))
        return "0" * 64

    monkeypatch.setattr(conversion, "sha256_file", digest)
    with pytest.raises(InputError, match="changed while it was read"):
        open_tensors(path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_large_tensors_are_copied_in_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "_CHUNK", 64)
    weights = {"a": torch.randn(100), "t": torch.randn(9, 7).t()}
    torch.save(weights, tmp_path / "model.ckpt")
    opened = open_tensors(tmp_path / "model.ckpt")
    assert all(torch.equal(opened.read(name), weights[name]) for name in weights)
