"""Attacks by names: another place, another file, another spelling of the same file."""

from tests.attacks.attack import Attack, with_entries
from tests.attacks.zip_builder import FOLDER, UTF8, Entry, extra_field, unicode_path

_DEVICE = "a device on Windows"
_DROPS = "ends with a dot or a space"
_COLON = "holds a colon"
_OWN = "begins like esdctl's own files"
_CONTROL = "holds a control character"
_REORDERS = "holds a character that reorders text"
_NETWORK = "is a network path"
_NOT_UTF8 = "has a name that is not UTF-8"
_INVISIBLE = "invisible characters and dots alone"

SINGLE = (
    ("absolute path", "/etc/passwd", "is absolute"),
    ("climbs out", "../outside.txt", "leaves its folder by '..'"),
    ("climbs out after going in", "a/../../outside.txt", "leaves its folder by '..'"),
    ("ends by climbing", "a/..", "leaves its folder by '..'"),
    ("climbs inside", "a/../b.txt", "leaves its folder by '..'"),
    ("dot component", "./a.txt", "has the part '.'"),
    ("dot component inside", "a/./b.txt", "has the part '.'"),
    ("empty component", "a//b.txt", "has an empty part"),
    ("no name", "", "is empty"),
    ("NUL inside", "a.txt\0.jpg", "holds a NUL"),
    ("NUL at the end", "a.txt\0", "holds a NUL"),
    ("line break", "a\nb.txt", _CONTROL),
    ("terminal escape", "\x1b[2Ja.txt", _CONTROL),
    ("delete character", "a\x7f.txt", _CONTROL),
    ("C1 control character", "a\x85b.txt", _CONTROL),
    ("line separator", "a\u2028b.txt", _CONTROL),
    ("right-to-left override", "a\u202egpj.exe", _REORDERS),
    ("isolate", "a\u2066b.txt", _REORDERS),
    ("left-to-right mark", "a\u200eb.txt", _REORDERS),
    ("backslash climbs out", "..\\outside.txt", "holds a backslash"),
    ("backslash as separator", "a\\b.txt", "holds a backslash"),
    ("network path of Windows", "\\\\server\\share\\a.txt", _NETWORK),
    ("device namespace of Windows", "\\\\?\\C:\\a.txt", _NETWORK),
    ("network path with slashes", "//server/share/a.txt", _NETWORK),
    ("drive", "C:/a.txt", "begins with a drive letter"),
    ("drive without a slash", "c:a.txt", "begins with a drive letter"),
    ("drive and backslash", "C:\\a.txt", "holds a backslash"),
    ("drive below a folder", "a/C:/b.txt", _COLON),
    ("alternate stream", "good.txt:hidden", _COLON),
    ("named data stream", "good.txt::$DATA", _COLON),
    ("device CON", "CON", _DEVICE),
    ("device with an extension", "nul.txt", _DEVICE),
    ("device with two extensions", "com1.tar.gz", _DEVICE),
    ("device with a space before the extension", "aux .txt", _DEVICE),
    ("device as a folder", "a/PRN/b.txt", _DEVICE),
    ("last printer", "LPT9", _DEVICE),
    ("port zero", "COM0", _DEVICE),
    ("port with a superscript one", "COM\u00b9", _DEVICE),
    ("printer with a superscript three", "lpt\u00b3.txt", _DEVICE),
    ("console input", "CONIN$", _DEVICE),
    ("console output", "conout$.log", _DEVICE),
    ("device behind an invisible character", "C\u200bON", _DEVICE),
    ("trailing dot", "good.txt.", _DROPS),
    ("trailing space", "good.txt ", _DROPS),
    ("dots alone", "a/.../b.txt", _DROPS),
    ("folder with a trailing dot", "a./b.txt", _DROPS),
    ("folder with a trailing space", "a /b.txt", _DROPS),
    ("climbs behind an invisible character", "..\u200d/a.txt", _INVISIBLE),
    ("invisible name", "\u200b\u2060", _INVISIBLE),
    ("component of 256 bytes", "a" * 256, "has a part longer than 255 bytes"),
    ("component of 128 characters, 256 bytes", "é" * 128, "has a part longer than 255 bytes"),
    ("path of 1,025 bytes", "/".join(["a" * 40] * 25) + "a", "is longer than 1024 bytes"),
    ("path of 65,535 bytes", "a" * 65535, "is longer than 1024 bytes"),
    ("overwrites the manifest", ".esdctl-manifest.json", _OWN),
    ("overwrites the manifest in capitals", ".ESDCTL-MANIFEST.JSON", _OWN),
    ("own files below a folder", "a/.esdctl/journal", _OWN),
)
_FOLDERS = (
    ("root as a folder", "/", "is empty"),
    ("two slashes", "//", "is absolute"),
    ("parent as a folder", "../", "leaves its folder by '..'"),
    ("folder with two slashes at its end", "a//", "has an empty part"),
    ("device as an empty folder", "nul/", _DEVICE),
)
_RAW = (
    ("UTF-8 flag on Latin-1", b"caf\xe9.txt", _NOT_UTF8),
    ("slash in overlong UTF-8", b"..\xc0\xafoutside.txt", _NOT_UTF8),
    ("half of a surrogate pair", b"a\xed\xa0\x80.txt", _NOT_UTF8),
    ("UTF-8 cut off", b"a\xf0\x9f\x90", _NOT_UTF8),
    ("code point above Unicode", b"a\xf4\x90\x80\x80", _NOT_UTF8),
)
_TWIN = "is a twin"
PAIRS = (
    ("same name twice", "a.txt", "a.txt", "is there twice"),
    ("twins in case", "a.txt", "A.TXT", _TWIN),
    ("twins in Unicode form", "caf\u00e9.txt", "cafe\u0301.txt", _TWIN),
    ("twins by sharp s", "stra\u00dfe.txt", "STRASSE.txt", _TWIN),
    ("twins by the Kelvin sign", "k.txt", "\u212a.txt", _TWIN),
    ("twins by final sigma", "\u03c3.txt", "\u03c2.txt", _TWIN),
    ("twins by an invisible character", "a.txt", "a\u200d.txt", _TWIN),
    ("twins by a ligature", "\ufb01.txt", "fi.txt", _TWIN),
    ("folders as twins", "Dogs/1.jpg", "dogs/2.jpg", _TWIN),
    ("file that is also a parent", "a", "a/b.txt", "as file and as folder"),
    ("parent that is also a file", "a/b.txt", "a", "as file and as folder"),
    ("file and folder that differ in case", "Dogs", "dogs/1.jpg", _TWIN),
    ("file and listed folder", "a", "a/", "as file and as folder"),
    ("listed folder and file", "a/", "a", "as file and as folder"),
    ("folder twice", "a/", "a/", "is there twice"),
)


def _entry(name: str) -> Entry:
    if name.endswith("/"):
        return Entry(name, b"", attributes=FOLDER)
    return Entry(name)


def _unicode_paths() -> tuple[Attack, ...]:
    field = "has a Unicode path field "
    latin = b"caf\xe9.txt"

    def attack(name: str, message: str, extra: bytes, raw: bytes, flags: int = 0) -> Attack:
        return with_entries(name, message, Entry(raw, extra=extra, flags=flags))

    path = unicode_path
    harmless = b"a.txt"
    return (
        attack("Unicode path climbs out", "with another name", path(harmless, "../b"), harmless),
        attack("Unicode path renames", "with another name", path(harmless, "b.txt"), harmless),
        attack("Unicode path against UTF-8", "with another name",
               path("é".encode(), "e"), "é".encode(), UTF8),
        attack("Unicode path of a third name", "with another name", path(latin, "café.txt"), latin),
        attack("Unicode path climbs out in its very bytes", "leaves its folder",
               path("../é".encode(), "../é"), "../é".encode()),
        attack("Unicode path of another name's CRC32", field + "that belongs to another name",
               path(b"b.txt", "a.txt"), harmless),
        attack("Unicode path of version 2", field + "of an unknown form",
               path(harmless, "a.txt", 2), harmless),
        attack("Unicode path too short", field + "of an unknown form",
               extra_field(0x7075, b"\1abc"), harmless),
        attack("Unicode path not in UTF-8", field + "that is not UTF-8",
               path(harmless, b"\xff"), harmless),
        attack("two Unicode paths", "has two extra fields 0x7075",
               path(harmless, "a.txt") * 2, harmless),
        attack("name in another encoding", "has a name in another encoding",
               extra_field(0x0008, b"\0\0"), harmless),
    )  # fmt: skip


NAMES: tuple[Attack, ...] = (
    *(with_entries(name, message, _entry(path)) for name, path, message in SINGLE),
    *(
        with_entries(name, message, Entry(path, b"", attributes=FOLDER))
        for name, path, message in _FOLDERS
    ),
    *(with_entries(name, message, Entry(raw, flags=UTF8)) for name, raw, message in _RAW),
    *(
        with_entries(name, message, _entry(first), _entry(second))
        for name, first, second, message in PAIRS
    ),
    *_unicode_paths(),
)
