"""The journal: what it says is durable, and it never speaks of another source."""

import zlib
from pathlib import Path

import pytest

from esdctl.storage.manifest import FileEntry
from esdctl.transfer.journal import DurableRange, Journal, Source, holds, read_journal
from esdctl.transfer.ranges import trusted_ranges

SOURCE = Source("owner/set", "abc")
RANGE = DurableRange(0, 5, zlib.crc32(b"hello"))
ENTRY = FileEntry("b/ü.txt", 3, "0" * 64)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal of one range of ``a`` and the whole of ``b/ü.txt``."""
    path = tmp_path / "journal"
    (tmp_path / "a").write_bytes(b"hello")
    written = Journal(path, SOURCE)
    written.note_range(tmp_path / "a", "a", RANGE)
    written.note_file(tmp_path / "a", ENTRY)
    written.close()
    return path


def test_what_was_noted_is_read_again(journal: Path) -> None:
    known = read_journal(journal, SOURCE)
    assert known.ranges == {"a": [RANGE]}
    assert known.files == {ENTRY.path: ENTRY}
    assert known.size == 8


def test_a_journal_of_another_source_is_void(journal: Path) -> None:
    assert read_journal(journal, Source("owner/set", "def")).size == 0
    Journal(journal, Source("owner/set", "def")).close()
    assert read_journal(journal, SOURCE).size == 0


def test_every_cut_leaves_the_records_before_it(journal: Path) -> None:
    content = journal.read_bytes()
    ends = [at + 1 for at, byte in enumerate(content) if byte == ord("\n")]
    for length in range(len(content)):
        journal.write_bytes(content[:length])
        known = read_journal(journal, SOURCE)
        assert (len(known.ranges), len(known.files)) == (length >= ends[1], length >= ends[2])


def test_every_flipped_bit_ends_the_journal_there(journal: Path) -> None:
    content = journal.read_bytes()
    for at in range(len(content)):
        journal.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        known = read_journal(journal, SOURCE)
        assert known.ranges in ({}, {"a": [RANGE]})
        assert known.files in ({}, {ENTRY.path: ENTRY})
        assert known.size < 8


def test_what_was_forgotten_stays_so(journal: Path) -> None:
    again = Journal(journal, SOURCE)
    again.forget("a")
    again.close()
    assert read_journal(journal, SOURCE).ranges == {}


def test_a_range_is_trusted_only_while_the_disk_holds_it(tmp_path: Path) -> None:
    file = tmp_path / "a"
    assert not holds(file, RANGE)
    file.write_bytes(b"hello")
    assert holds(file, RANGE)
    file.write_bytes(b"hellp")
    assert not holds(file, RANGE)
    file.write_bytes(b"hell")
    assert not holds(file, RANGE)


def test_trusted_ranges_are_joined_and_disjoint(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"0123456789")

    def noted(start: int, end: int) -> DurableRange:
        return DurableRange(start, end, zlib.crc32(b"0123456789"[start:end]))

    recorded = [noted(7, 9), noted(0, 2), noted(2, 4), noted(1, 3), DurableRange(4, 6, 1)]
    assert trusted_ranges(file, recorded) == [(0, 4), (7, 9)]
