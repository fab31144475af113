"""Which form of checkpoint a file is, by its first bytes; its name says nothing."""

import os
from enum import Enum
from pathlib import Path
from tarfile import TarInfo

from esdctl.errors import InputError, IntegrityError

_HEAD = 1024  # bytes; a tar header is 512


class Form(Enum):
    """The forms that are read; the value is what ``inspect`` prints."""

    SAFETENSORS = "safetensors"
    ZIP = "pickle in a ZIP"  # torch 1.6 and later
    LEGACY = "pickle with a magic number"  # torch 0.1.10 to 1.5


# What people hold in place of a checkpoint: first bytes, what it is, what to do.
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "run: git lfs pull"),
    (b"GGUF", "a GGUF file", "get the .safetensors or .ckpt of the same model"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it first: gunzip"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it first: unzstd"),
    (b"\xfd7zXZ", "compressed by xz", "unpack it first: unxz"),
    (b"BZh", "compressed by bzip2", "unpack it first: bunzip2"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"\x89HDF", "an HDF5 file, of TensorFlow or Keras", "get the PyTorch weights"),
    (b"\x93NUMPY", "a NumPy array", "get the PyTorch weights"),
    (b"\x89PNG", "a picture", "give the path of a checkpoint"),
    (b"\xff\xd8\xff", "a picture", "give the path of a checkpoint"),
    (b"%PDF", "a PDF", "give the path of a checkpoint"),
    (b"\x7fELF", "a program", "give the path of a checkpoint"),
)
_PAGES = (b"<!doctype", b"<html", b"<?xml", b"<head")
_DOWNLOAD = "a server's page was saved in its place; download the file again"


def form_of(path: Path) -> Form:
    """Tell the form of a checkpoint.

    Raises:
        InputError: the path is no regular file, or the file is something else, which is said.
    """
    head, size = _head(path)
    _refuse_others(path, head)
    if head.startswith(b"PK\x03\x04"):
        return Form.ZIP
    if head[8:9] == b"{" and not (head[:8].isascii() and head[:8].decode().isprintable()):
        return Form.SAFETENSORS
    if not any(head):
        fault = "holds zeros alone" if size else "is empty"
        raise IntegrityError(f"{path} {fault}", "the download was cut off; get the file again")
    return Form.LEGACY


def _head(path: Path) -> tuple[bytes, int]:
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a checkpoint", "give the path of a file")
    if not path.exists():
        raise InputError(f"no such file: {path}", "give the path of a checkpoint")
    if not path.is_file():
        raise InputError(f"{path} is a pipe or a device", "give the path of a file")
    try:
        with path.open("rb") as file:
            return file.read(_HEAD), os.fstat(file.fileno()).st_size
    except PermissionError:
        raise InputError(f"{path} may not be read", "check its permissions") from None


def _refuse_others(path: Path, head: bytes) -> None:
    for magic, what, hint in _OTHERS:
        if head.startswith(magic):
            raise InputError(f"{path} is {what}", hint)
    if _is_tar(head):
        raise InputError(
            f"{path} is a tar archive, which torch wrote until 2016",
            "no Stable Diffusion was ever in that format; unpack it first, if a model lies in it",
        )
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.lower().startswith(_PAGES):
        raise InputError(f"{path} is an HTML page, not a checkpoint", _DOWNLOAD)
    if text.startswith((b"{", b"[")) and not any(byte < 9 for byte in head):
        raise InputError(f"{path} is a JSON text, not a checkpoint", _DOWNLOAD)


def _is_tar(head: bytes) -> bool:
    try:
        TarInfo.frombuf(head[:512], "utf-8", "surrogateescape")
    except Exception:  # tarfile raises what it likes at what is no header
        return False
    return True
