"""Whether a file is what its name says: safetensors, a picture, I2P's table."""

import json
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from esdctl.datasets.folders import PICTURE_SUFFIXES
from esdctl.datasets.i2p import read_i2p
from esdctl.errors import InputError

_HEADER_LENGTH = struct.Struct("<Q")  # safetensors' first bytes
_MAX_HEADER = 100_000_000  # bytes, safetensors' own limit


def is_picture(path: Path) -> bool:
    """Whether the name is that of a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def fault_of_safetensors(path: Path) -> str:
    """What is wrong with the file's header; "" when it is sound.

    The library checks offsets, shapes, types and the file's length. JSON takes the last of two
    equal keys in silence, so the keys are read here as well.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            file.keys()
        repeated = _repeated_keys(path)
    except (SafetensorError, OSError, ValueError, struct.error, RecursionError) as error:
        return _first_line(error)
    return f"the key {repeated[0]!r} is there twice" if repeated else ""


def fault_of_picture(path: Path) -> str:
    """Why the picture cannot be decoded to its last pixel; "" when it can."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return _first_line(error).replace(repr(str(path)), "it")
    return ""


def fault_of_i2p(path: Path) -> str:
    """What is wrong with I2P's table; "" when its columns and values are right."""
    try:
        read_i2p(path)
    except InputError as error:
        return error.message.removeprefix(f"{path}").lstrip(":, ")
    return ""


def _repeated_keys(path: Path) -> list[str]:
    repeated: list[str] = []

    def collect(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
        repeated.extend(key for key, n in Counter(key for key, _ in pairs).items() if n > 1)
        return dict(pairs)

    with path.open("rb") as file:
        (length,) = _HEADER_LENGTH.unpack(file.read(_HEADER_LENGTH.size))
        header = file.read(min(length, _MAX_HEADER))
    json.loads(header, object_pairs_hook=collect)
    return repeated


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
