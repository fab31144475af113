"""Attacks by structures: overlap, junk, ZIP64, several disks, several ends, lies on places."""

from tests.attacks.attack import GOOD, Attack
from tests.attacks.zip_builder import (
    DEFLATED,
    DESCRIPTOR,
    Archive,
    Entry,
    Fields,
    central_header,
    deflate,
    local_header,
    zip64_field,
)

_ONE = Archive((GOOD,))
_SOUND = _ONE.build()
_DIRECTORY = central_header(GOOD, 0)
_END = len(_SOUND) - 22  # of the directory, where the end record begins
_BODY = _END - len(_DIRECTORY)  # bytes of the member
_SECOND = Entry("second.txt")
_MAX = 0xFFFFFFFF


def _lies(name: str, message: str, **end: int) -> Attack:
    """The end record lies."""
    return Attack(name, message, Archive((GOOD, _SECOND), end=end))


def _lies64(name: str, message: str, end64: Fields | None = None, **locator: int) -> Attack:
    """ZIP64's end record or its locator lies."""
    return Attack(name, message, Archive((GOOD,), zip64=True, end64=end64 or {}, locator=locator))


def _entry(name: str, message: str, **central: int | bytes) -> Attack:
    return Attack(name, message, Archive((GOOD, Entry("a.txt", central=central))))


def _quoted() -> Attack:
    """Fifield's better bomb: each member's data begins with the next member's local header."""
    inner = Entry("inner.txt", b"12345")
    swallowed = local_header(inner) + b"12345"
    outer = Entry("outer.txt", swallowed)
    offset = len(local_header(outer))
    directory = central_header(outer, 0) + central_header(inner, offset)
    archive = Archive((outer,), end={"members": 2, "members_here": 2, "size": len(directory)})
    at = len(local_header(outer)) + len(swallowed)
    data = archive.build()
    raw = data[:at] + directory + data[-22:]
    return Attack("member inside another member", "'outer.txt' overlaps the next one", raw=raw)


LAYOUT: tuple[Attack, ...] = (
    _quoted(),
    Attack("two entries on one local header", "is there twice",
           Archive((Entry("a.txt", listed=2),))),
    _entry("two names on one local header", "shares its local header", offset=0),
    Attack("member longer than its place", "overlaps the next one",
           Archive((Entry("a.txt", local={"compressed": 99, "size": 99},
                          central={"compressed": 99, "size": 99}), _SECOND))),
    Attack("member that reaches into the directory", "reaches into the directory",
           Archive((Entry("a.txt", local={"compressed": 30, "size": 30},
                          central={"compressed": 30, "size": 30}),))),
    Attack("member that forgets its descriptor", "overlaps the next one",
           Archive((Entry("a.txt", flags=DESCRIPTOR, descriptor=b""), _SECOND))),
    _entry("member in the directory", "begins in or behind the directory", offset=_BODY + 60),
    _entry("member in the end record", "begins in or behind the directory", offset=_END + 200),
    _entry("member behind the archive", "begins in or behind the directory", offset=_MAX - 1),
    _entry("member in the middle of another", "overlaps the next one", offset=10),
    Attack("junk before all", "64 bytes of junk precede", Archive((GOOD,), before=bytes(64))),
    Attack("program before all", "64 bytes of junk precede",
           Archive((GOOD,), before=b"#!/bin/sh\n".ljust(64))),
    Attack("junk that no offset knows of", "junk before either",
           Archive((GOOD,), prepended=bytes(64))),
    Attack("junk before an empty archive", "8 bytes of junk precede", Archive(before=bytes(8))),
    Attack("one byte between members", "1 bytes of junk lie behind",
           Archive((GOOD, Entry("a.txt", before=b"!")))),
    Attack("much junk between members", "bytes of junk lie behind",
           Archive((GOOD, Entry("a.txt", before=bytes(70_000))))),
    Attack("unlisted member", "bytes of junk lie behind",
           Archive((Entry("a.txt"), Entry("hidden.txt", listed=0), GOOD))),
    Attack("unlisted last member", "bytes of junk lie behind",
           Archive((GOOD, Entry("hidden.txt", listed=0)))),
    Attack("unlisted first member", "bytes of junk precede",
           Archive((Entry("hidden.txt", listed=0), GOOD))),
    Attack("junk before the directory", "3 bytes of junk lie behind",
           Archive((GOOD,), before_directory=b"!!!")),
    Attack("junk behind the directory", "junk before either",
           Archive((GOOD,), after_directory=b"!!!")),
    Attack("digital signature", "5 bytes of junk follow the last entry",
           Archive((GOOD,), after_directory=b"PK\5\5\0", end={"size": len(_DIRECTORY) + 5})),
    Attack("extra data record of the archive", "8 bytes of junk lie behind",
           Archive((GOOD,), before_directory=b"PK\6\x08\0\0\0\0")),
    Attack("junk at the end", "5 bytes of junk follow the archive",
           Archive((GOOD,), after=b"12345")),
    Attack("zeros at the end", "512 bytes of junk follow the archive",
           Archive((GOOD,), after=bytes(512))),
    Attack("two archives in one", "junk before either", raw=_SOUND + Archive((_SECOND,)).build()),
)  # fmt: skip

END_RECORD: tuple[Attack, ...] = (
    Attack("comment hides an end record", "hides another end record",
           Archive((GOOD,), comment=b"PK\5\6" + bytes(30))),
    Attack("comment hides a signature at its end", "hides another end record",
           Archive((GOOD,), comment=b"harmless PK\5\6")),
    Attack("comment hides an archive", "has several end records that fit",
           Archive((GOOD,), comment=Archive((_SECOND,)).build())),
    Attack("end record twice", "has several end records that fit",
           Archive((GOOD,), comment=_SOUND[-22:])),
    Attack("end record before the end record", "junk before either",
           Archive((GOOD,), before_end=_SOUND[-22:])),
    Attack("member whose end record would fit", "has several end records that fit",
           Archive((Entry("a.zip", b"PK\5\6" + bytes(16) + b"\x49\0"),))),
    Attack("comment shorter than said", "9 bytes of its comment are missing",
           Archive((GOOD,), comment=b"a", end={"comment_length": 10})),
    Attack("comment longer than said", "9 bytes of junk follow",
           Archive((GOOD,), comment=b"1234567890", end={"comment_length": 1})),
    _lies("fewer members than listed", "lists more than the 1 members", members=1, members_here=1),
    _lies("no members, yet a directory", "lists more than the 0 members", members=0,
          members_here=0),
    _lies("more members than listed", "do not fit in", members=3, members_here=3),
    Attack("one member more than listed", "ends before the entry of member 2",
           Archive((Entry("a" * 60),), end={"members": 2, "members_here": 2})),
    _lies("65,535 members", "do not fit in", members=0xFFFF, members_here=0xFFFF),
    _lies("members on another disk", "2 members, 1 of them on this disk", members_here=1),
    _lies("last of two disks", "spans several disks", disk=1),
    _lies("directory on another disk", "spans several disks", directory_disk=1),
    _lies("split archive", "spans several disks", disk=0xFFFF),
    _lies("directory one byte early", "junk before either", offset=2 * _BODY + 1),
    _lies("directory one byte late", "reaches into its end record", offset=2 * _BODY + 3),
    _lies("directory behind the archive", "reaches into its end record", offset=_MAX - 1),
    _lies("directory one byte short", "junk before either", size=2 * len(_DIRECTORY) + 1),
    _lies("directory one byte long", "reaches into its end record", size=2 * len(_DIRECTORY) + 3),
    _lies("directory of no bytes", "junk before either", size=0),
    Attack("too many members", "100001 members, more than 100000",
           Archive((), before_directory=b"", after_directory=bytes(100_001 * 46), zip64=True,
                   end={"members": 0xFFFF, "members_here": 0xFFFF, "size": 100_001 * 46},
                   end64={"members": 100_001, "members_here": 100_001, "size": 100_001 * 46})),
    Attack("directory too large", "the directory has 33554433 bytes",
           Archive((), after_directory=bytes(2**25 + 1), end={"size": 2**25 + 1})),
    _entry("entry without its signature", "no entry of the directory where", signature=b"PK\1\1"),
    _entry("name longer than the directory", "is cut off in the entry of member 2",
           name_length=60000),
    _entry("extra longer than the directory", "is cut off in the entry of member 2",
           extra_length=60000),
    _entry("comment longer than the directory", "is cut off in the entry of member 2",
           comment_length=1),
    Attack("directory ends within an entry", "is cut off in the entry of member 2",
           Archive((Entry("a" * 60),), after_directory=b"PK\1\2" + bytes(20),
                   end={"members": 2, "members_here": 2, "size": 130})),
    Attack("comment swallows the next entry", "ends before the entry of member 3",
           Archive((GOOD, Entry("a.txt", central={"comment_length": 56}), _SECOND))),
    _entry("member on another disk", "lies on another disk", disk=1),
)  # fmt: skip


def _zip64_entry(name: str, message: str, *values: int, **central: int | bytes) -> Attack:
    return _entry(name, message, extra=zip64_field(*values), **central)


ZIP64: tuple[Attack, ...] = (
    _lies64("locator points elsewhere", "the ZIP64 locator points to byte 0", offset=0),
    _lies64("locator one byte off", "the ZIP64 locator points to byte", offset=_END + 1),
    _lies64("locator behind the archive", "the ZIP64 locator points to byte", offset=2**63),
    _lies64("locator on another disk", "says its ZIP64 locator", disk=1),
    _lies64("locator of two disks", "says its ZIP64 locator", disks=2),
    _lies64("locator of no disk", "says its ZIP64 locator", disks=0),
    _lies64("ZIP64 end record on another disk", "disagree on disk", {"disk": 1}),
    _lies64("ZIP64 directory on another disk", "disagree on directory disk", {"directory_disk": 1}),
    _lies64("ZIP64 end record counts more", "disagree on members", {"members": 2}),
    _lies64("ZIP64 end record counts less here", "disagree on members here", {"members_here": 0}),
    _lies64("ZIP64 directory elsewhere", "disagree on offset", {"offset": 0}),
    _lies64("ZIP64 directory of another size", "disagree on size", {"size": 46}),
    _lies64("ZIP64 end record with extensible data", "says it has 45 bytes", {"record_size": 45}),
    _lies64("ZIP64 end record too short", "says it has 12 bytes", {"record_size": 12}),
    _lies64("ZIP64 end record without signature", "no ZIP64 end record stands",
            {"signature": b"PK\6\5"}),
    Attack("another directory by ZIP64 alone", "reaches into its end record",
           Archive((GOOD,), zip64=True, end={"offset": _MAX}, end64={"offset": 2**40})),
    Attack("offset that overflows 64 bits", "reaches into its end record",
           Archive((GOOD,), zip64=True, end={"size": _MAX, "offset": _MAX},
                   end64={"offset": 2**64 - 1, "size": _END + 1})),
    Attack("count that overflows memory", "do not fit in",
           Archive((GOOD,), zip64=True, end={"members": 0xFFFF, "members_here": 0xFFFF},
                   end64={"members": 2**62, "members_here": 2**62})),
    Attack("junk before the ZIP64 locator", "no ZIP64 end record stands",
           Archive((GOOD,), zip64=True, before_locator=b"!!!")),
    Attack("junk behind the ZIP64 locator", "junk before either",
           Archive((GOOD,), zip64=True, before_end=b"!!!")),
    Attack("junk before the ZIP64 end record", "junk before either",
           Archive((GOOD,), zip64=True, after_directory=b"!!!")),
    Attack("locator hidden from us", "there is none",
           Archive((GOOD,), zip64=True, before_end=b"!!!", end={"offset": _MAX})),
    _lies("offset in a ZIP64 that is not there", "there is none", offset=_MAX),
    _lies("size in a ZIP64 that is not there", "there is none", size=_MAX),
    Attack("locator in an entry's comment", "no ZIP64 end record stands",
           Archive((Entry("a.txt", central={"comment": b"PK\6\7" + bytes(12) + b"\1\0\0\0"}),))),
    _entry("size needs ZIP64", "needs a ZIP64 field", size=_MAX),
    _entry("packed size needs ZIP64", "needs a ZIP64 field", compressed=_MAX),
    _entry("offset needs ZIP64", "needs a ZIP64 field", offset=_MAX),
    _entry("disk needs ZIP64", "needs a ZIP64 field", disk=0xFFFF),
    _entry("ZIP64 field cut off", "has a cut-off extra field 0x0001",
           size=_MAX, extra=zip64_field(18)[:-1]),
    _zip64_entry("ZIP64 field too short", "a ZIP64 field of 8 bytes, not 16", 18,
                 size=_MAX, compressed=_MAX),
    _zip64_entry("ZIP64 field too long", "a ZIP64 field of 16 bytes, not 8", 18, 18, size=_MAX),
    _zip64_entry("ZIP64 field not needed", "a ZIP64 field of 16 bytes, not 0", 7, 7),
    _entry("two ZIP64 fields", "has two extra fields 0x0001",
           size=_MAX, extra=zip64_field(18) + zip64_field(2**40)),
    _zip64_entry("ZIP64 offset behind the archive", "begins in or behind the directory", 2**63,
                 offset=_MAX),
    _zip64_entry("ZIP64 packed size beyond the archive", "reaches into the directory", 2**39, 2**39,
                 size=_MAX, compressed=_MAX),
    _zip64_entry("ZIP64 size of a bomb", "deflate cannot pack", 2**39, size=_MAX, method=DEFLATED),
)  # fmt: skip

_LONG = Archive((GOOD,), zip64=True, comment=b"a comment")


def _cut(name: str, message: str, length: int) -> Attack:
    return Attack(f"cut off in {name}", message, raw=_SOUND[:length])


_NO_END = "it has no end record"
CUT_OFF: tuple[Attack, ...] = (
    Attack("empty file", _NO_END, raw=b""),
    Attack("page in place of a ZIP", _NO_END, raw=b"<!doctype html><title>404</title>" * 9),
    Attack("a signature and no more", "cut off in its end record", raw=b"PK\5\6"),
    Attack("zeros", _NO_END, raw=bytes(1000)),
    Attack("gzip", _NO_END, raw=b"\x1f\x8b\x08\0" + bytes(100)),
    Attack("bare deflate stream", _NO_END, raw=deflate(b"a picture of a dog")),
    _cut("a local header", _NO_END, 20),
    _cut("a name", _NO_END, 33),
    _cut("data", _NO_END, _BODY - 3),
    _cut("the directory", _NO_END, _BODY + 20),
    _cut("the end record", "cut off in its end record", len(_SOUND) - 1),
    _cut("the end record's signature", _NO_END, _END + 3),
    Attack("cut off in the comment", "1 bytes of its comment are missing",
           raw=_LONG.build()[:-1]),
    Attack("cut off in the ZIP64 locator", _NO_END, raw=_LONG.build()[:-33]),
    Attack("cut off in the ZIP64 end record", _NO_END, raw=_LONG.build()[:-60]),
    Attack("beginning missing", "reaches into its end record", raw=_SOUND[10:]),
    Attack("middle missing", "reaches into its end record", raw=_SOUND[:40] + _SOUND[50:]),
)  # fmt: skip

STRUCTURES: tuple[Attack, ...] = (*LAYOUT, *END_RECORD, *ZIP64, *CUT_OFF)
