"""A pickled checkpoint becomes safetensors once; the copy is cached beside it and mapped.

The cache of ``NAME`` is ``.NAME.<first 16 of its sha256>.safetensors`` in the same folder, or, if
that cannot be written, in a folder of the user's own among the system's temporary files. It says in
its metadata from which bytes it was made. A cache is used when it names the present size, time of
change and tensors of the checkpoint; else the checkpoint is hashed, and a cache of that hash is
used or made. It can be removed at any time.
"""

import errno
import glob
import json
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from io import BufferedReader
from pathlib import Path

import torch

from esdctl.checkpoints.pickles.stored_tensor import StoredTensor
from esdctl.checkpoints.pickles.unpickle import PickledFile
from esdctl.checkpoints.refusal import hostile
from esdctl.checkpoints.safetensors.reading import SafetensorsFile, open_safetensors
from esdctl.checkpoints.safetensors.writing import write_safetensors
from esdctl.checkpoints.tensor_info import DTYPES, TensorInfo
from esdctl.errors import EsdctlError, InputError, StorageError
from esdctl.progress import Reporter
from esdctl.storage.atomic import guard_disk, write_with
from esdctl.storage.conversion_cache import cache_beside, temporary_copies
from esdctl.storage.digest import sha256_file
from esdctl.storage.lock import target_lock
from esdctl.untrusted_text import shown

SOURCE_KEY = "esdctl-source"
_DIGEST = "[0-9a-f]" * 16
_USER = os.getuid() if hasattr(os, "getuid") else "user"
_TEMPORARY = Path(tempfile.gettempdir(), f"esdctl-{_USER}")
_CHUNK = 16 * 2**20  # bytes read at a time
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class _Source:
    """Which bytes a cache was made from."""

    size: int
    mtime_ns: int
    sha256: str = ""


def convert_once(pickled: PickledFile, reporter: Reporter) -> SafetensorsFile:
    """The cached safetensors of a pickled checkpoint, made where there is none.

    Args:
        pickled: the checked description of its tensors.
        reporter: told of a conversion.

    Returns:
        The tensors, mapped from the cache; messages name the checkpoint.

    Raises:
        InputError: the checkpoint changed meanwhile.
        IntegrityError: the file is damaged, or ends before its tensors do.
        StorageError: there is no room, neither beside the file nor in the temporary folder.
    """
    path = pickled.path
    temporary = temporary_copies()
    folders = [path.parent, *([_TEMPORARY] if _is_own(_TEMPORARY) else [])]
    folders += [temporary] if temporary else []
    for folder in folders:
        for cache in sorted(folder.glob(f".{glob.escape(path.name)}.{_DIGEST}.safetensors")):
            found = _read_cache(cache, pickled)
            if found and replace(found[1], sha256="") == _now(path):
                return found[0]
    stay = "" if temporary is None else ", and the copy removed again: a dry run leaves nothing"
    reporter.notice(
        f"reading {path} for the first time: its weights are copied to safetensors{stay}"
    )
    if "left_aside" in pickled.metadata:
        reporter.notice(f"left aside, since nothing is run: {pickled.metadata['left_aside']}")
    source = replace(_now(path), sha256=sha256_file(path))
    if temporary is not None:
        return _convert_into(temporary, pickled, source, reporter)
    try:
        return _convert_into(path.parent, pickled, source, reporter)
    except StorageError as error:
        if not _is_not_writable(error):
            raise
    _make_temporary_folder()
    reporter.notice(f"{path.parent} cannot be written; the copy goes into {_TEMPORARY}")
    return _convert_into(_TEMPORARY, pickled, source, reporter)


def _convert_into(
    folder: Path, pickled: PickledFile, source: _Source, reporter: Reporter
) -> SafetensorsFile:
    path = pickled.path
    cache = cache_beside(folder / path.name, source.sha256)
    with target_lock(folder / path.name, reporter):
        found = _read_cache(cache, pickled)
        if found and found[1].sha256 == source.sha256:
            return found[0]  # the same bytes under another time, or another process was faster
        infos = _aligned(pickled)
        reporter.started("convert", sum(info.bytes for info in infos.values()), "B")

        def write(beside: Path) -> None:
            _check_storages(pickled)
            chunks = _chunks(pickled, infos, reporter)
            write_safetensors(beside, infos, chunks, _metadata(pickled, source))
            if _now(path) != replace(source, sha256=""):
                raise InputError(f"{path} changed while it was read", "try again")

        write_with(cache, write)
        reporter.finished("convert")
    return replace(open_safetensors(cache, path), metadata=pickled.metadata)


def _read_cache(cache: Path, pickled: PickledFile) -> tuple[SafetensorsFile, _Source] | None:
    """The cache and its source, if it holds the very tensors that the checkpoint describes."""
    try:
        opened = open_safetensors(cache, pickled.path)
        source = _Source(**json.loads(opened.metadata[SOURCE_KEY]))
    except (EsdctlError, KeyError, TypeError, ValueError):
        return None
    if opened.infos != pickled.infos or opened.metadata != _metadata(pickled, source):
        return None
    return replace(opened, metadata=pickled.metadata), source


def _metadata(pickled: PickledFile, source: _Source) -> dict[str, str]:
    return {**pickled.metadata, SOURCE_KEY: json.dumps(asdict(source))}


def _now(path: Path) -> _Source:
    found = path.stat()
    return _Source(found.st_size, found.st_mtime_ns)


def _aligned(pickled: PickledFile) -> dict[str, TensorInfo]:
    """Large elements first, so that every tensor of the cache is aligned; else the file's order."""

    def place(item: tuple[str, StoredTensor]) -> tuple[int, int]:
        tensor = item[1]
        return -DTYPES[tensor.dtype].itemsize, tensor.storage.start + tensor.offset

    return {name: tensor.info for name, tensor in sorted(pickled.tensors.items(), key=place)}


def _check_storages(pickled: PickledFile) -> None:
    """Hold the storages' bytes against their CRC32, where the file says one.

    Raises:
        IntegrityError: one is damaged.
    """
    storages = {tensor.storage for tensor in pickled.tensors.values() if tensor.storage.crc32}
    with pickled.path.open("rb") as file:
        for storage in sorted(storages, key=lambda storage: storage.start):
            file.seek(storage.start)
            crc32, left = 0, storage.bytes
            while left and (chunk := file.read(min(left, _CHUNK))):
                crc32 = zlib.crc32(chunk, crc32)
                left -= len(chunk)
            if crc32 != storage.crc32:
                fault = f"its storage {shown(storage.key)} is damaged: the CRC32 differs"
                raise hostile(pickled.path, fault)


def _chunks(
    pickled: PickledFile, infos: dict[str, TensorInfo], reporter: Reporter
) -> Iterator[bytes]:
    """The tensors' bytes in order; memory holds a chunk or one odd tensor."""
    done = 0
    with pickled.path.open("rb") as file:
        for name in infos:
            for part in _parts(file, pickled.tensors[name], pickled.path):
                yield part.reshape(-1).view(torch.uint8).numpy().tobytes()
                done += part.nbytes
            reporter.advanced("convert", done)


def _parts(file: BufferedReader, tensor: StoredTensor, path: Path) -> Iterator[torch.Tensor]:
    """A tensor's elements in reading order: in chunks where it is contiguous, else at once."""
    dtype = DTYPES[tensor.dtype]
    place = tensor.storage.start + tensor.offset * dtype.itemsize
    count = tensor.info.elements
    if not count:
        return
    if not tensor.is_contiguous:
        run = _read(file, place, tensor.span, dtype, path)
        yield run.as_strided(tensor.shape, tensor.strides).contiguous()
        return
    step = _CHUNK // dtype.itemsize
    for first in range(0, count, step):
        yield _read(file, place + first * dtype.itemsize, min(step, count - first), dtype, path)


def _read(
    file: BufferedReader, place: int, count: int, dtype: torch.dtype, path: Path
) -> torch.Tensor:
    """``count`` elements from the file's byte ``place`` on, (count,)."""
    data = bytearray(count * dtype.itemsize)
    file.seek(place)
    if file.readinto(data) != len(data):
        raise hostile(path, "it is cut off within a tensor")
    if dtype is torch.bool and data.translate(None, b"\0\1"):
        raise hostile(path, "a truth value is neither 0 nor 1")
    return torch.frombuffer(data, dtype=dtype)


def _is_not_writable(error: StorageError) -> bool:
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _NOT_WRITABLE


def _is_own(folder: Path) -> bool:
    """Whether it is a folder, no link, that this user alone can write."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        return False
    return os.name == "nt" or (found.st_uid == os.getuid() and not found.st_mode & 0o022)


def _make_temporary_folder() -> None:
    with guard_disk(_TEMPORARY):
        if not _TEMPORARY.is_symlink():
            _TEMPORARY.mkdir(mode=0o700, exist_ok=True)
    if not _is_own(_TEMPORARY):
        raise StorageError(
            f"{_TEMPORARY} can be written by others, so no weights are kept there",
            "remove it, or set TMPDIR to a folder of your own",
        )
