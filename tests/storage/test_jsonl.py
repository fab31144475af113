"""Rows on disk: a kill tears at most the last line, and a torn line is no row."""

from pathlib import Path

import pytest

from esdctl.errors import InputError, StorageError
from esdctl.storage.atomic import append_jsonl, read_jsonl
from tests.storage import small_disk


def test_rows_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "run" / "log.jsonl"
    append_jsonl(path, {"step": 0, "prompt": "a\nb — ü"})
    append_jsonl(path, {"step": 1, "loss": 0.5})
    assert read_jsonl(path) == [{"step": 0, "prompt": "a\nb — ü"}, {"step": 1, "loss": 0.5}]


@pytest.mark.parametrize("torn", ['{"step": 1, "lo', '{"step": 1}', "\udcc3"])
def test_a_torn_last_line_is_no_row(torn: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 0}\n' + torn.encode(errors="surrogateescape"))
    assert read_jsonl(path) == [{"step": 0}]


@pytest.mark.parametrize("before", [b"", b'{"step": 0}\n'])
def test_an_append_replaces_a_torn_last_line(before: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(before + b'{"torn": "' + b"x" * 100_000)
    append_jsonl(path, {"step": 1})
    assert path.read_bytes() == before + b'{"step": 1}\n'


def test_a_full_disk_keeps_the_rows_before(tmp_path: Path) -> None:
    with small_disk.mounted(tmp_path / "disk") as disk:
        path = disk / "log.jsonl"
        append_jsonl(path, {"step": 0})
        with pytest.raises(StorageError, match="No space left"):
            append_jsonl(path, {"text": "x" * 200_000})
        assert path.read_bytes() == b'{"step": 0}\n'


def test_a_row_that_json_cannot_say_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        append_jsonl(tmp_path / "log.jsonl", {"loss": float("inf")})
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.parametrize("line", [b"{oops}", b"[1, 2]", b"\xff"])
def test_a_broken_line_in_the_middle_is_named(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 0}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(InputError, match=r"log\.jsonl, line 2"):
        read_jsonl(path)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_jsonl(tmp_path / "log.jsonl")
