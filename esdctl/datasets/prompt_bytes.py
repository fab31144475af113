"""The bytes of a list of prompts -> its text; what is another kind of file is refused by name."""

import re
import sys
from pathlib import Path

from esdctl.errors import InputError

STDIN = "-"
LARGEST = 2**28  # bytes; a million of I2P's prompts, the most that a plan has, are fewer

# What people hold in place of prompts: first bytes, what it is, and what to do.
_AS_CSV = "save it as CSV in UTF-8"
_OTHERS = (
    (b"PK\x03\x04", "an Excel workbook or a ZIP", _AS_CSV),
    (b"PAR1", "a Parquet file", _AS_CSV),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", _AS_CSV),
    (b"%PDF", "a PDF", _AS_CSV),
    (b"\x89PNG", "a picture", _AS_CSV),
    (b"\xff\xd8\xff", "a picture", _AS_CSV),
    (b"\x1f\x8b", "compressed by gzip", _AS_CSV),
    (b"version https://git-lfs", "a Git LFS pointer", "run: git lfs pull"),
)
_WEB_PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml)\b", re.IGNORECASE)
_UTF8 = "save the file with the encoding UTF-8"


def read_text(source: Path | str) -> str:
    """The text of a file or of stdin.

    Args:
        source: a path, a pipe's too, or ``-`` for stdin.

    Raises:
        InputError: no such file, no text, or no end within ``LARGEST`` bytes.
    """
    name = name_of(source)
    content = _read(source)
    if len(content) > LARGEST:
        raise InputError(
            f"{name} has more than {LARGEST / 1e6:.0f} MB, which no list of prompts has",
            "give a file of prompts, or a part of it: head -n 1000000",
        )
    _refuse_others(content, name)
    return _decoded(content, name)


def name_of(source: Path | str) -> str:
    """What errors call it."""
    return "stdin" if str(source) == STDIN else str(source)


def _read(source: Path | str) -> bytes:
    """At most a byte more than is allowed: devices have no end, and files may be sparse."""
    if str(source) == STDIN:
        return sys.stdin.buffer.read(LARGEST + 1) if sys.stdin is not None else b""
    try:
        with Path(source).expanduser().open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(
            f"cannot read prompts from {source}: {error.strerror}",
            "give a file, - for stdin, or --prompt TEXT",
        ) from error


def _refuse_others(content: bytes, name: str) -> None:
    for magic, what, hint in _OTHERS:
        if content.startswith(magic):
            raise InputError(f"{name} is {what}, not prompts", hint)
    if _WEB_PAGE.match(content):
        raise InputError(
            f"{name} is a web page, not prompts", "download the file itself (a link named raw)"
        )


def _decoded(content: bytes, name: str) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):  # as Excel's "Unicode text" is
        try:
            return content.decode("utf-16")
        except UnicodeDecodeError:
            raise InputError(f"{name}: damaged UTF-16 text", _UTF8) from None
    if _is_unmarked_utf16(content):
        raise InputError(f"{name} is UTF-16 text without its byte order mark", _UTF8)
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise InputError(f"{name}, line {line}: a NUL, so it is no text", _UTF8)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{name}, line {line}: not UTF-8 text", _UTF8) from error


def _is_unmarked_utf16(content: bytes) -> bool:
    """Whether half of all pairs of bytes hold a zero, always in the same place: Latin letters."""
    halves = content[::2].count(0), content[1::2].count(0)
    return min(halves) == 0 and 4 * max(halves) >= len(content) > 1
