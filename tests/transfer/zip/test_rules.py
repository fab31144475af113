"""Sound ZIPs of every writer pass the rules; what is tolerated is tolerated on purpose."""

import io
import os
import shutil
import struct
import subprocess
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import pytest

from esdctl.errors import IntegrityError
from esdctl.transfer.zip.rules import (
    TAIL_SIZE,
    Limits,
    check_local_header,
    find_directory,
    local_header_length,
    read_directory,
)
from tests.attacks.reading import read_archive
from tests.attacks.zip_builder import (
    DEFLATED,
    DESCRIPTOR,
    FOLDER,
    Archive,
    Entry,
    central_header,
    extra_field,
    local_header,
    unicode_path,
    zip64_field,
)

GIB = 2**30


class Pipe(io.BytesIO):
    """Where a ZIP writer cannot go back, so that it writes data descriptors."""

    def tell(self) -> int:
        raise io.UnsupportedOperation


def write_with_python(file: io.BytesIO, method: int, *, zip64: bool) -> None:
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.mkdir("sample")
        archive.writestr("sample/a dog.txt", b"woof " * 100)
        archive.writestr("sample/caf\u00e9 \U0001f415.txt", b"\x00\xff" * 50)
        archive.writestr("sample/empty", b"")
        with archive.open("sample/large", "w", force_zip64=zip64) as member:
            member.write(os.urandom(5000))
        archive.comment = b"a comment"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("zip64", [False, True], ids=["plain", "zip64"])
@pytest.mark.parametrize("streamed", [False, True], ids=["file", "pipe"])
def test_python_archives_pass(method: int, zip64: bool, streamed: bool) -> None:
    file = Pipe() if streamed else io.BytesIO()
    write_with_python(file, method, zip64=zip64)
    members = read_archive(file.getvalue())
    assert [(member.name, member.is_folder, member.size) for member in members] == [
        ("sample", True, 0),
        ("sample/a dog.txt", False, 500),
        ("sample/caf\u00e9 \U0001f415.txt", False, 100),
        ("sample/empty", False, 0),
        ("sample/large", False, 5000),
    ]


@pytest.mark.skipif(shutil.which("zip") is None, reason="Info-ZIP's zip is not installed")
@pytest.mark.parametrize(
    "options", ["", "-0", "-9", "-fz", "-fd", "-X", "-D"], ids=lambda text: text or "none"
)
def test_info_zip_archives_pass(tmp_path: Path, options: str) -> None:
    (tmp_path / "sample/empty").mkdir(parents=True)
    (tmp_path / "sample/a dog.txt").write_text("woof " * 100)
    (tmp_path / "sample/nothing").touch()
    command = ["zip", "-q", "-r", *options.split(), "made.zip", "sample"]
    subprocess.run(command, cwd=tmp_path, check=True)
    names = {member.name for member in read_archive((tmp_path / "made.zip").read_bytes())}
    assert {"sample/a dog.txt", "sample/nothing"} <= names


@pytest.mark.skipif(shutil.which("zip") is None, reason="Info-ZIP's zip is not installed")
def test_info_zip_through_a_pipe_passes(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("woof " * 100)
    command = "zip -q - a.txt | cat > made.zip"
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    (member,) = read_archive((tmp_path / "made.zip").read_bytes())
    assert member.name == "a.txt"


def _with_descriptor(layout: str, signature: bytes = b"") -> Archive:
    sizes = struct.pack(layout, zlib.crc32(DATA), len(DATA), len(DATA))
    return Archive((Entry("a.txt", DATA, flags=DESCRIPTOR, descriptor=signature + sizes),))


A = Entry("a.txt")
DATA = b"12345"
CAFE = "caf\u00e9.txt".encode()
SIGNATURE = b"PK\7\x08"
TRUE_SIZES = {"crc32": zlib.crc32(DATA), "compressed": 5, "size": 5}
WIDEST = 0xFFFFFFFF
TOLERATED = {
    "no members": Archive(),
    "times, owners and padding": Archive(
        (Entry("a.txt", extra=extra_field(0x5455, bytes(5)) + extra_field(0xD935, bytes(60))),)
    ),
    "PKWARE's times": Archive((Entry("a.txt", extra=extra_field(0x0D, bytes(12))),)),
    "a plain file in the ASi field": Archive(
        (Entry("a.txt", extra=extra_field(0x756E, struct.pack("<LHL2H", 0, 0o100644, 0, 0, 0))),)
    ),
    "comments": Archive((Entry("a.txt", central={"comment": b"PK"}),), comment=b"by PK\1\2 me"),
    "the longest comment": Archive((A,), comment=bytes(0xFFFF)),
    "a nested archive, stored": Archive((Entry("inner.zip", Archive((A,)).build()),)),
    "setuid, which is not used": Archive((Entry("a.txt", attributes=0o104755 << 16),)),
    "no mode": Archive((Entry("a.txt", attributes=0),)),
    "a folder of DOS": Archive((Entry("a/", b"", attributes=0x10),)),
    "a deflated folder": Archive((Entry("a/", b"", DEFLATED, attributes=FOLDER),)),
    "a folder behind its files": Archive((Entry("a/b.txt"), Entry("a/", b"", attributes=FOLDER))),
    "descriptor of 12 bytes": _with_descriptor("<3L"),
    "descriptor of 16 bytes": _with_descriptor("<3L", SIGNATURE),
    "descriptor of 20 bytes": _with_descriptor("<L2Q"),
    "descriptor of 24 bytes": _with_descriptor("<L2Q", SIGNATURE),
    "descriptor and true sizes": Archive(
        (Entry("a.txt", DATA, flags=DESCRIPTOR, local=TRUE_SIZES),)
    ),
    "ZIP64 sizes in the local header alone": Archive(
        (Entry("a.txt", DATA, local={"compressed": WIDEST, "size": WIDEST,
                                     "extra": zip64_field(5, 5)}),)
    ),
    "ZIP64 in the directory, not needed": Archive(
        (Entry("a.txt", DATA, central={"size": WIDEST, "extra": zip64_field(5)}),)
    ),
    "ZIP64 end record, not needed": Archive((A,), zip64=True, comment=b"a comment"),
    "ZIP64 end record, needed by its count": Archive(
        (A,), zip64=True, end={"members": 0xFFFF, "members_here": 0xFFFF}
    ),
    "the ratio of a good text": Archive((Entry("a.csv", b"a photo\n" * 5000, DEFLATED),)),
    "flags that say how hard deflate tried": Archive((Entry("a.txt", DATA, DEFLATED, 0b110),)),
}  # fmt: skip


@pytest.mark.parametrize("archive", TOLERATED.values(), ids=TOLERATED)
def test_tolerated(archive: Archive) -> None:
    data = archive.build()
    assert len(read_archive(data)) == len(archive.entries)
    with zipfile.ZipFile(io.BytesIO(data)) as same:
        assert same.testzip() is None


@pytest.mark.parametrize(
    ("raw", "extra", "name"),
    [
        (b"caf\x82.txt", b"", "caf\u00e9.txt"),  # 0x82 in CP437
        (b"caf\x82.txt", unicode_path(b"caf\x82.txt", "caf\u00e9.txt"), "caf\u00e9.txt"),
        (CAFE, unicode_path(CAFE, CAFE), "caf\u00e9.txt"),
        (CAFE, b"", "caf\u251c\u2310.txt"),
    ],
    ids=["CP437", "CP437 and Unicode path", "UTF-8 by its Unicode path", "UTF-8 without a word"],
)
def test_names_without_the_utf8_flag(raw: bytes, extra: bytes, name: str) -> None:
    (member,) = read_archive(Archive((Entry(raw, extra=extra),)).build())
    assert member.name == name


def test_members_come_in_the_order_of_their_bytes_and_touch() -> None:
    entries = [Entry(name) for name in ("c", "a", "b")]
    headers = [local_header(entry) + entry.data for entry in entries]
    starts = [sum(map(len, headers[:number])) for number in range(4)]
    backwards = b"".join(
        central_header(entry, start)
        for entry, start in reversed(list(zip(entries, starts, strict=False)))
    )
    sound = Archive(tuple(entries)).build()
    data = sound[: starts[3]] + backwards + sound[-22:]
    members = read_archive(data)
    assert [member.name for member in members] == ["c", "a", "b"]
    assert [member.header_offset for member in members] == starts[:3]
    assert [member.end for member in members] == starts[1:]


def test_members_beyond_4_gib_are_read() -> None:
    first = Entry("large", packed=b"", local={
        "compressed": WIDEST, "size": WIDEST, "extra": zip64_field(5 * GIB, 5 * GIB),
    }, central={
        "compressed": WIDEST, "size": WIDEST, "extra": zip64_field(5 * GIB, 5 * GIB),
    })  # fmt: skip
    header = local_header(first)
    second_at = len(header) + 5 * GIB
    second = Entry("small", central={"offset": WIDEST, "extra": zip64_field(second_at)})
    directory_at = second_at + len(local_header(second) + second.data)
    place = {"members": 2, "members_here": 2, "offset": directory_at}
    directory = central_header(first, 0) + central_header(second, 0)
    records = _records_of(directory, place)
    total = directory_at + len(directory) + len(records)
    tail = (bytes(TAIL_SIZE) + directory + records)[-TAIL_SIZE:]

    found = find_directory(tail, total)
    large, small = read_directory(directory, found, total)

    assert (found.offset, found.size, found.members) == (directory_at, len(directory), 2)
    assert (large.size, large.end) == (5 * GIB, second_at)
    assert (small.size, small.header_offset) == (len(second.data), second_at)
    assert check_local_header(large, header) == local_header_length(header) == len(header)


def _records_of(directory: bytes, place: dict[str, int]) -> bytes:
    """The three end records of a directory that lies beyond 4 GiB."""
    size = {"size": len(directory)}
    end = place["offset"] + len(directory)
    archive = Archive(
        zip64=True, end={**place, **size, "offset": WIDEST}, end64={**place, **size},
        locator={"offset": end},
    )  # fmt: skip
    return archive.build()


def test_65535_members_need_no_zip64() -> None:
    size = 0xFFFF * 46
    end = {"members": 0xFFFF, "members_here": 0xFFFF, "size": size}
    data = Archive(after_directory=bytes(size), end=end).build()
    assert find_directory(data[-TAIL_SIZE:], len(data)).members == 0xFFFF


def _many(count: int) -> tuple[bytes, bytes]:
    """An archive of empty files, and its directory."""
    entries = [Entry(f"Dogs/{number}.jpg", b"") for number in range(count)]
    headers = [local_header(entry) for entry in entries]
    at = 0
    directory = []
    for entry, header in zip(entries, headers, strict=True):
        directory.append(central_header(entry, at))
        at += len(header)
    listing = b"".join(directory)
    claims = {"members": count, "members_here": count, "size": len(listing), "offset": at}
    return b"".join(headers) + listing + Archive(end=claims).build(), listing


def test_memory_stays_in_proportion_to_the_members() -> None:
    count = 5000
    data, directory = _many(count)
    place = find_directory(data[-TAIL_SIZE:], len(data))
    tracemalloc.start()
    members = read_directory(directory, place, len(data))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(members) == count
    assert peak < 1500 * count


def test_limits_are_the_callers() -> None:
    data, _ = _many(20)
    for limits, message in (
        (Limits(max_members=19), "20 members, more than 19"),
        (Limits(max_members=20), "more than 20 files and folders"),
        (Limits(max_directory=100), "the directory has"),
    ):
        with pytest.raises(IntegrityError, match=message):
            read_archive(data, limits)
    small = Archive((Entry("a", DATA), Entry("b", DATA))).build()
    for limits, message in (
        (Limits(max_total=4), "'a' unpacks to 5 bytes, more than 4"),
        (Limits(max_total=9), "the archive unpacks to 10 bytes, more than 9"),
        (Limits(max_ratio=0, ratio_from=0), "'a' is a bomb"),
        (Limits(max_total_ratio=0, ratio_from=0), "the archive is a bomb"),
    ):
        with pytest.raises(IntegrityError, match=message):
            read_archive(small, limits)


def test_too_little_of_the_archive_is_the_callers_mistake() -> None:
    data, directory = _many(2)
    place = find_directory(data, len(data))
    with pytest.raises(ValueError, match="not the tail"):
        find_directory(data[1:], len(data))
    with pytest.raises(ValueError, match="not the directory"):
        read_directory(directory[1:], place, len(data))


def test_a_header_that_is_cut_off_is_refused() -> None:
    (member,) = read_archive(Archive((A,)).build())
    header = local_header(A)
    for length in (0, 29, 30, len(header) - 1):
        with pytest.raises(IntegrityError, match=r"'a\.txt' is cut off in its local header"):
            check_local_header(member, header[:length])
    with pytest.raises(IntegrityError, match="cut off in a local header"):
        local_header_length(header[:29])


def test_a_member_of_another_archive_does_not_fit() -> None:
    (member,) = read_archive(Archive((A,)).build())
    with pytest.raises(IntegrityError, match="in its local header"):
        check_local_header(member, local_header(Entry("b.txt")))
