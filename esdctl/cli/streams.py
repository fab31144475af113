"""stdin, stdout and stderr as they come: closed, or in an encoding that lacks a character."""

import codecs
import os
import sys

_ERRORS = "esdctl"  # the name of the error handler below
_LONE = range(0xDC80, 0xDD00)  # how Python holds a byte of an argument that is no text


def prepare_streams() -> None:
    """Make the three streams usable; call it once, before anything opens a file.

    A closed stream becomes one to nowhere: else the next file that is opened takes its number, and
    what a library prints would land in that file.
    """
    for number in (0, 1, 2):
        _open_if_closed(number)
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    codecs.register_error(_ERRORS, _as_bytes_or_escaped)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors=_ERRORS)


def _open_if_closed(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one


def _as_bytes_or_escaped(error: UnicodeError) -> tuple[bytes | str, int]:
    """What the encoding lacks: a byte of a path goes out as it came, a character as ``\\u2026``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    shown = b"".join(
        bytes([ord(one) - 0xDC00]) if ord(one) in _LONE else one.encode("ascii", "backslashreplace")
        for one in characters
    )
    return shown, error.end
