"""SHA-256 of files: the name under which the same bytes are known everywhere."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from esdctl.errors import InputError


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        InputError: there is no such file.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise InputError(f"{path} is not a file") from error


def sha256_files(paths: Mapping[str, Path]) -> str:
    """One SHA-256 of several named files, whatever their order and place on the disk.

    It is the SHA-256 of the text ``<sha256>  <name>\\n`` for each name in sorted order, which is
    what ``sha256sum`` prints.

    Raises:
        InputError: one of the files does not exist.
    """
    listing = "".join(f"{sha256_file(paths[name])}  {name}\n" for name in sorted(paths))
    return hashlib.sha256(listing.encode()).hexdigest()
