"""Disks that take no more: a small tmpfs where we may mount one, else the tests are skipped."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """Mount a disk of 64 KiB at ``folder``."""
    folder.mkdir()
    _mount_or_skip("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder))
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def make_read_only(folder: Path) -> None:
    _mount_or_skip("-o", "remount,ro", str(folder))


def _mount_or_skip(*arguments: str) -> None:
    try:
        process = subprocess.run(["mount", *arguments], capture_output=True)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if process.returncode != 0:
        pytest.skip("not allowed to mount a tmpfs")
