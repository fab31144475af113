"""Atomic writes: write beside, fsync, rename; a file or folder is visible when it is complete."""

import itertools
import json
import os
import re
import shutil
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from esdctl.errors import InputError
from esdctl.storage.disk_errors import guard_disk, storage_error

__all__ = [
    "append_jsonl",
    "guard_disk",
    "is_partial",
    "publishing_folder",
    "read_jsonl",
    "storage_error",
    "write_bytes",
    "write_json",
    "write_text",
    "write_with",
]

_counter = itertools.count()
_swept: set[Path] = set()  # folders without leftovers of dead processes
_UMASK = os.umask(0o077)  # it can only be read by setting it
os.umask(_UMASK)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically; see ``write_with``."""

    def write(partial: Path) -> None:
        partial.write_bytes(data)

    write_with(path, write)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, as UTF-8 with line ends as they are."""
    write_bytes(path, text.encode())


def write_json(path: Path, document: object) -> None:
    """Write ``document`` to ``path`` atomically, as indented JSON.

    Raises:
        ValueError: a number is NaN or infinite, which JSON cannot say.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def write_with(path: Path, writer: Callable[[Path], None]) -> None:
    """Let ``writer`` write a file beside ``path``, then rename it to ``path``.

    Missing parent folders are made. When anything fails, ``path`` keeps its old content and the
    partial file is removed.

    Args:
        path: where the file becomes visible.
        writer: gets a path in the same folder with the same suffix and writes the file there.

    Raises:
        StorageError: the disk is full, read-only, not writable, or something is in the way.
    """
    with guard_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        partial = _partial(path, path.suffix)
        try:
            writer(partial)
            _give_usual_mode(partial)
            fsync_file(partial)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)


@contextmanager
def publishing_folder(target: Path) -> Iterator[Path]:
    """Give a staging folder beside ``target`` that becomes ``target`` when the block succeeds.

    When the block fails, the staging folder is removed and ``target`` never appears.

    Args:
        target: must not exist, or be an empty folder.

    Raises:
        StorageError: as for ``write_with``; also when ``target`` exists.
    """
    with guard_disk(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target.parent)
        staging = _partial(target, "")
        staging.mkdir()
        try:
            yield staging
            for folder, _, files in os.walk(staging, topdown=False):
                for name in files:
                    _give_usual_mode(Path(folder, name))
                    fsync_file(Path(folder, name))
                fsync_folder(Path(folder))
            staging.rename(target)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        fsync_folder(target.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder and all in it: it vanishes at once, then its files go; links stay unfollowed.

    Raises:
        StorageError: the disk is read-only or not writable; the folder then keeps its name.
    """
    with guard_disk(path):
        going = _partial(path, "")
        path.rename(going)
        fsync_folder(path.parent)
        shutil.rmtree(going)


def append_jsonl(path: Path, row: Mapping[str, object]) -> None:
    """Append ``row`` to ``path`` as one line of JSON; a kill leaves at most one torn last line.

    A torn last line of an earlier process is cut off first. The line is handed to the operating
    system in one write and not synced: it outlives the process, not a power cut.

    Raises:
        StorageError: as for ``write_with``; the file then holds the rows that it held before.
        ValueError: a number is NaN or infinite, which JSON cannot say.
    """
    line = json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    with guard_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file:
            whole = _length_of_whole_lines(path)
            file.truncate(whole)
            try:
                written = file.write(line)
                while written < len(line):  # a nearly full disk takes a part, then fails
                    written += file.write(line[written:])
            except BaseException:
                file.truncate(whole)
                raise


def read_jsonl(path: Path) -> list[dict[str, object]]:
    """Read the rows that ``append_jsonl`` wrote; a torn last line is no row.

    Raises:
        InputError: there is no such file, or a whole line is not a JSON object.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist") from error
    rows: list[dict[str, object]] = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number}: not JSON") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not a JSON object")
        rows.append(row)
    return rows


def _length_of_whole_lines(path: Path) -> int:
    """The number of bytes up to and including the last line end."""
    block = 64 * 1024
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - block)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


def is_partial(path: Path) -> bool:
    """Whether a name is one that ``write_with`` writes under, of a process that may have died."""
    return path.name.startswith(".") and ".partial" in path.suffixes[-2:]


def _partial(path: Path, suffix: str) -> Path:
    """A new hidden name beside ``path``: host and process say whose it is."""
    owner = f"{socket.gethostname()}-{os.getpid()}-{next(_counter)}"
    return path.with_name(f".{path.name}.{owner}.partial{suffix}")


def _remove_leftovers(folder: Path) -> None:
    """Remove partial files and folders of processes of this host that died; once per folder."""
    folder = folder.absolute()
    if folder in _swept:
        return
    _swept.add(folder)
    pattern = re.compile(rf"\..+\.{re.escape(socket.gethostname())}-(\d+)-\d+\.partial")
    for leftover in folder.glob(".*.partial*"):
        owner = pattern.match(leftover.name)
        if owner is None or _is_alive(int(owner.group(1))):
            continue
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _give_usual_mode(file: Path) -> None:
    """safetensors makes files that their owner alone may read; give them what open() gives."""
    if stat.S_IMODE(file.stat().st_mode) == 0o600:
        file.chmod(0o666 & ~_UMASK)


def fsync_file(file: Path) -> None:
    """Make a file's bytes durable."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def fsync_folder(folder: Path) -> None:
    """Make a rename durable where the file system can; some network disks sync no folders."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
