"""Attacks by members: kinds, encryption, methods, bombs, and headers that contradict each other."""

import stat
import struct
import zlib

from tests.attacks.attack import Attack, with_entries
from tests.attacks.zip_builder import (
    DEFLATED,
    DESCRIPTOR,
    FOLDER,
    UTF8,
    Archive,
    Entry,
    deflate,
    descriptor,
    extra_field,
    unicode_path,
    zip64_field,
)

_BY_FIELD = "is a link or a device, says its extra field"
_ASI = struct.Struct("<LHL2H")  # CRC32, mode, size or device, user, group
_MIB = 2**20


def _special(name: str, mode: int, message: str) -> Attack:
    entry = Entry("special", b"/etc/passwd", attributes=(mode | 0o777) << 16)
    return with_entries(name, message, entry)


def _with_extra(name: str, message: str, extra: bytes) -> Attack:
    return with_entries(name, message, Entry("a.txt", extra=extra))


def _asi(mode: int, target: bytes) -> bytes:
    return extra_field(0x756E, _ASI.pack(0, mode, len(target), 0, 0) + target)


KINDS: tuple[Attack, ...] = (
    _special("symbolic link", stat.S_IFLNK, "is a symbolic link"),
    _special("character device", stat.S_IFCHR, "is a character device"),
    _special("block device", stat.S_IFBLK, "is a block device"),
    _special("named pipe", stat.S_IFIFO, "is a named pipe"),
    _special("socket", stat.S_IFSOCK, "is a socket"),
    _special("unknown kind", 0o150000, "is of an unknown kind"),
    with_entries(
        "symbolic link said to come from DOS",
        "is a symbolic link",
        Entry("link", b"/", attributes=0o120777 << 16, central={"made_by": 20}),
    ),
    with_entries(
        "symbolic link as a folder",
        "is a symbolic link",
        Entry("link/", b"", attributes=0o120777 << 16),
    ),
    with_entries(
        "link, then a file through it",
        "is a symbolic link",
        Entry("link", b"/tmp", attributes=0o120777 << 16),
        Entry("link/a.txt"),
    ),
    with_entries("reparse point", "is a link of Windows", Entry("a", attributes=0x400)),
    with_entries("volume label", "is the label of a volume", Entry("DISK", attributes=0x08)),
    with_entries(
        "folder by its mode alone", "a folder by its attributes", Entry("a", attributes=FOLDER)
    ),
    with_entries(
        "folder by its DOS bit alone", "a folder by its attributes", Entry("a", attributes=0x10)
    ),
    with_entries("folder with a file's mode", "a file by its mode", Entry("a/", b"")),
    with_entries(
        "folder with content", "is a folder with 5 bytes", Entry("a/", b"12345", attributes=FOLDER)
    ),
    _with_extra("link in PKWARE's field", _BY_FIELD, extra_field(0x0D, bytes(12) + b"/etc/passwd")),
    _with_extra("link in the ASi field", _BY_FIELD, _asi(0o120777, b"/etc/passwd")),
    _with_extra("device in the ASi field", _BY_FIELD, _asi(0o060666, b"")),
)

FORMS: tuple[Attack, ...] = (
    *(
        with_entries(name, message, Entry("a.txt", flags=flags))
        for name, flags, message in (
            ("encrypted", 0x01, "is encrypted"),
            ("strong encryption", 0x41, "is encrypted (strong encryption)"),
            ("strong encryption without bit 0", 0x40, "is encrypted (strong encryption)"),
            ("masked header", 0x2000, "has a masked local header"),
            ("patch data", 0x20, "is patch data"),
            ("enhanced deflate", 0x10, "has unknown flags 0x0010"),
            ("unused flag", 0x80, "has unknown flags 0x0080"),
            ("reserved flag", 0x8000, "has unknown flags 0x8000"),
        )
    ),
    *(
        with_entries(f"method {method}", message, Entry("a.txt", method=method))
        for method, message in (
            (1, "is packed by method 1,"),
            (6, "is packed by method 6,"),
            (9, "is packed by method 9,"),
            (12, "is packed by method 12,"),
            (14, "is packed by method 14,"),
            (93, "is packed by method 93,"),
            (95, "is packed by method 95,"),
            (98, "is packed by method 98,"),
            (99, "is encrypted (AES)"),
            (0xFFFF, "is packed by method 65535,"),
        )
    ),
    with_entries(
        "version from the future",
        "needs version 99 of the format",
        Entry("a.txt", central={"version": 99}),
    ),
    _with_extra("AES field", "is encrypted (AES)", extra_field(0x9901, b"\2\0AE\3\0\0")),
    _with_extra("strong encryption field", "strong encryption", extra_field(0x17, bytes(8))),
    _with_extra("patch field", "is patch data", extra_field(0x0F, bytes(8))),
    _with_extra("extra field cut off", "has a cut-off extra field", extra_field(0x5455, b"", 9)),
    _with_extra("junk in the extra fields", "3 bytes of junk in its extra fields", b"\0\0\0"),
)


def _sizes(name: str, message: str, entry: Entry, **sizes: int) -> Attack:
    """Both headers tell the same lie."""
    lies = {**sizes}
    lying = Entry(entry.name, entry.data, entry.method, local=lies, central=lies)
    return with_entries(name, message, lying)


_ZEROS = Entry("zeros", bytes(2 * _MIB), DEFLATED)


def _deep(number: int) -> Entry:
    return Entry(f"{number:x}/" + "/".join("abcdefghijklmnopqrstuvwxyz" * 10) + "/f", b"")


BOMBS: tuple[Attack, ...] = (
    with_entries("bomb of one member", "is a bomb", _ZEROS),
    Attack(
        "bomb of many members",
        "the archive is a bomb",
        Archive(
            tuple(
                Entry(f"{number}", bytes(_MIB), DEFLATED, packed=deflate(bytes(_MIB)))
                for number in range(3)
            )
        ),
    ),
    _sizes("size that deflate cannot reach", "which deflate cannot pack",
           Entry("a", b"a" * 100, DEFLATED), size=_MIB),
    _sizes("stored and smaller than said", "is stored, yet", Entry("a"), size=_MIB),
    _sizes("stored and larger than said", "is stored, yet", Entry("a"), size=1),
    _sizes("deflated into nothing", "is deflated into no byte", Entry("a", b"", DEFLATED),
           compressed=0),
    _sizes("CRC32 of an empty file", "its CRC32 is not that of nothing", Entry("a", b""), crc32=7),
    with_entries(
        "terabytes",
        "unpacks to 4611686018427387904 bytes, more than",
        Entry(
            "a",
            method=DEFLATED,
            central={"size": 0xFFFFFFFF, "extra": zip64_field(2**62)},
        ),
    ),
    Attack(
        "bomb of folders",
        "more than 100000 files and folders",
        Archive(tuple(_deep(number) for number in range(400))),
    ),
)  # fmt: skip


def _local(title: str, message: str, /, **lies: int | bytes) -> Attack:
    return with_entries(title, message, Entry("a.txt", local=lies))


def _behind(name: str, message: str, trailer: bytes, data: bytes = b"12345") -> Attack:
    """``trailer`` stands in the place of the data descriptor."""
    return with_entries(name, message, Entry("a.txt", data, flags=DESCRIPTOR, descriptor=trailer))


_CRC = zlib.crc32(b"12345")
_DISAGREES = "a data descriptor that disagrees"
_IN_PLACE = "bytes in place of a data descriptor"

TWO_ACCOUNTS: tuple[Attack, ...] = (
    _local("another name locally", "has the name 'b.txt' in its local header", name=b"b.txt"),
    _local("climbs out locally", "in its local header", name=b"../ab"),
    _local("shorter name locally", "reaches into the directory", name=b"a.tx"),
    _local("name cut by its length", "in its local header", name_length=4, extra_length=1),
    _local("another method locally", "has method 8 in its local header", method=DEFLATED),
    _local("encrypted locally", "has flags 0x0001 in its local header", flags=1),
    _local("UTF-8 locally", "has flags 0x0800 in its local header", flags=UTF8),
    _local("descriptor promised locally", "has flags 0x0008 in its local header", flags=DESCRIPTOR),
    _local("another CRC32 locally", "has the CRC32 7 in its local header", crc32=7),
    _local("no CRC32 locally", "has the CRC32 0 in its local header", crc32=0),
    _local("another packed size locally", "has the packed size 7 in", compressed=7),
    _local("another size locally", "has the size 7 in", size=7),
    _local("no local header", "has no local header", signature=b"PK\1\2"),
    _local("extra fields longer than the archive", "its local header",
           extra_length=60000),
    _local("extra fields over the data", "its local header is too long", extra_length=1),
    _local("extra field cut off locally", "has a cut-off extra field",
           extra=extra_field(0x5455, b"", 9)),
    _local("AES field locally", "is encrypted (AES)", extra=extra_field(0x9901, b"\2\0AE\3\0\0")),
    _local("link locally", _BY_FIELD, extra=_asi(0o120777, b"/etc/passwd")),
    _local("Unicode path locally", "with another name", extra=unicode_path(b"a.txt", "../b")),
    with_entries("Unicode path in the directory alone", "another Unicode path field",
                 Entry("é".encode(), central={"extra": unicode_path("é".encode(), "é")})),
    _local("ZIP64 missing locally", "needs a ZIP64 field in its local header", size=0xFFFFFFFF),
    _local("ZIP64 too short locally", "ZIP64 field of 8 bytes locally",
           size=0xFFFFFFFF, extra=zip64_field(18)),
    _local("ZIP64 against the local header", "whose ZIP64 field contradicts it",
           extra=zip64_field(7, 7)),
    _local("ZIP64 lies locally", "has the size 19 in its local header",
           size=0xFFFFFFFF, compressed=0xFFFFFFFF, extra=zip64_field(19, 18)),
    with_entries("sizes locally beside a descriptor", "has the size 7 in",
                 Entry("a.txt", flags=DESCRIPTOR, local={"size": 7})),
    _behind("descriptor with another CRC32", _DISAGREES, descriptor(7, 5, 5)),
    _behind("descriptor with another packed size", _DISAGREES, descriptor(_CRC, 6, 5)),
    _behind("descriptor with another size", _DISAGREES, descriptor(_CRC, 5, 6)),
    _behind("descriptor without its signature", "without its signature", bytes(16)),
    _behind("descriptor missing", "reaches into the directory", b""),
    _behind("descriptor cut off", "13 " + _IN_PLACE, descriptor(_CRC, 5, 5)[:13]),
    _behind("junk behind a descriptor", "17 " + _IN_PLACE, descriptor(_CRC, 5, 5) + b"!"),
    with_entries("descriptor without a flag", "16 bytes of junk lie behind",
                 Entry("a.txt", after=descriptor(_CRC, 5, 5))),
)  # fmt: skip

MEMBERS: tuple[Attack, ...] = (*KINDS, *FORMS, *BOMBS, *TWO_ACCOUNTS)

_DATA = b"a picture of a dog " * 10
_PACKED = deflate(_DATA)


def _content(name: str, message: str, packed: bytes, data: bytes = _DATA, **lies: int) -> Attack:
    entry = Entry("a.txt", data, DEFLATED, packed=packed, local=lies, central=lies)
    return with_entries(name, message, entry)


# What no rule on structures can see: whoever unpacks must count and compare.
CONTENTS: tuple[Attack, ...] = (
    _content("deflate stream cut off", "end too early", _PACKED[:-4]),
    _content("junk behind the deflate stream", "bytes follow the end", _PACKED + b"junk"),
    _content("no deflate stream", "the member 'a.txt'", b"\xff" * len(_PACKED)),
    _content("unpacks to more than said", "unpacks to more than 189", _PACKED, size=189),
    _content("unpacks to less than said", "it has 190 bytes, not 191", _PACKED, size=191),
    _content("another content", "its CRC32 is", deflate(_DATA.upper())),
    _content("another CRC32", "not 00000007", _PACKED, crc32=7),
    _content("bomb behind an honest size", "unpacks to more than 20000",
             deflate(bytes(16 * _MIB)), size=20000),
    with_entries("stored content with another CRC32", "not 00000007",
                 Entry("a.txt", local={"crc32": 7}, central={"crc32": 7})),
)  # fmt: skip
