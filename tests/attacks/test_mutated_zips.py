"""Sound ZIPs with a few bytes changed: refused by an IntegrityError, or one harmless reading."""

import io
import random
import zipfile
from pathlib import PurePosixPath, PureWindowsPath

import pytest

from esdctl.errors import IntegrityError
from esdctl.transfer.zip.rules import Member
from tests.attacks.reading import read_archive
from tests.attacks.zip_builder import DEFLATED, DESCRIPTOR, FOLDER, Archive, Entry, unicode_path

ROUNDS = 1500
CAFE = "caf\u00e9.txt".encode()
ENTRIES = (
    Entry("a/", b"", attributes=FOLDER),
    Entry("a/1.txt", b"woof " * 20, DEFLATED),
    Entry("a/2.txt", flags=DESCRIPTOR),
    Entry("\u65e5\u672c.txt"),
    Entry(CAFE, extra=unicode_path(CAFE, CAFE)),
)
# What an attacker would put in: signatures, ends of ranges, separators.
INTERESTING = (
    b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\7\x08", b"\0", b"\xff", b"\xff\xff",
    b"\xff" * 4, b"\0" * 4, b"/", b"../", b"\\", b":", b"\x01\x00", b"\x00\xa0", b"\x75\x70", b".",
)  # fmt: skip


def mutate(data: bytes, draw: random.Random) -> bytes:
    """One to three changes, each somewhere."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(changed))
        kind = draw.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            changed[at] = draw.randrange(256)
        elif kind == 2:
            block = draw.choice(INTERESTING)
            changed[at : at + len(block)] = block
        elif kind == 3:
            changed[at:at] = draw.choice(INTERESTING)
        elif kind == 4 and len(changed) > 30:
            del changed[at : at + draw.choice((1, 2, 4, 22, 30))]
        else:
            source = draw.randrange(len(changed))
            changed[at : at + 46] = changed[source : source + 46]
    return bytes(changed)


@pytest.mark.parametrize("zip64", [False, True], ids=["plain", "zip64"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_mutated_archive_is_refused_or_harmless(zip64: bool, seed: int) -> None:
    sound = Archive(ENTRIES, zip64=zip64, comment=b"a comment").build()
    assert len(read_archive(sound)) == len(ENTRIES)
    draw = random.Random(seed)
    refused = 0
    for _ in range(ROUNDS):
        data = mutate(sound, draw)
        try:
            members = read_archive(data)
        except IntegrityError:
            refused += 1
            continue
        assert_harmless(members, data)
    assert refused > ROUNDS // 2


def assert_harmless(members: tuple[Member, ...], data: bytes) -> None:
    """No member leaves its folder on any system, and Python's reader sees the same members."""
    for member in members:
        for path in (PurePosixPath(member.name), PureWindowsPath(member.name)):
            assert not path.anchor
            assert ".." not in path.parts
        assert "\\" not in member.name
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):
        return  # Python's reader refuses, for reasons of its own
    same = {(info.header_offset, info.file_size, info.CRC) for info in infos}
    assert {(member.header_offset, member.size, member.crc32) for member in members} == same
