"""How much a folder takes on the disk, and how much is free there."""

import os
import shutil
from pathlib import Path


def size_of_folder(path: Path) -> int:
    """Bytes of all files in a folder; links are not followed, files that vanish count nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += Path(folder, name).lstat().st_size
            except OSError:
                continue
    return total


def free_disk(path: Path) -> int:
    """Free bytes on the disk where ``path`` is or will be."""
    return shutil.disk_usage(existing_folder(path)).free


def existing_folder(path: Path) -> Path:
    """The folder itself, else the nearest one above it that is there."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.is_dir())
