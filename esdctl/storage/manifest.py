"""A manifest: what a published folder holds, size and sha256 of each file.

The format, on one page. A manifest is the file ``.esdctl-manifest.json`` in the folder that it
describes.

- It MUST be one JSON object with ``format`` = ``esdctl-manifest-1``, ``name`` (the artifact),
  ``source`` (its address), ``revision`` (the commit or ETag that was fetched), ``files`` and
  ``sha256``.
- ``files`` MUST list every file of the folder but the manifest itself, once each: ``path``
  (relative, with ``/``), ``size`` in bytes, ``sha256`` in lowercase hexadecimal.
- ``sha256`` at the top is that of the object without it, written as JSON with sorted keys and no
  spaces. So a damaged manifest is told from a damaged file.
- Readers MUST refuse another ``format``, a wrong ``sha256``, and a path that leaves the folder.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from pydantic import TypeAdapter, ValidationError

from esdctl.errors import InputError
from esdctl.storage.atomic import write_json

MANIFEST_NAME = ".esdctl-manifest.json"
FORMAT = "esdctl-manifest-1"


@dataclass(frozen=True)
class FileEntry:
    """One file: ``path`` relative to the folder, with ``/``; ``size`` in bytes."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a folder holds, and where it came from.

    Args:
        name: the artifact's name in the catalogue, with its variant if it has one.
        source: the address.
        revision: the commit, or the ETag, that was fetched.
        files: every file, in any order.
    """

    name: str
    source: str
    revision: str
    files: tuple[FileEntry, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into its folder, atomically, its files sorted by path.

    Raises:
        StorageError: the disk is full or not writable.
    """
    files = sorted(manifest.files, key=lambda entry: entry.path)
    content = {"format": FORMAT, **asdict(manifest), "files": [asdict(entry) for entry in files]}
    write_json(folder / MANIFEST_NAME, {**content, "sha256": _digest(content)})


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a folder; None when it has none.

    Raises:
        InputError: the manifest is damaged, or of another format.
    """
    path = folder / MANIFEST_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError, OSError) as error:
        raise _damaged(path, "it is not JSON") from error
    if not isinstance(document, dict):
        raise _damaged(path, "it is not a JSON object")
    if document.pop("sha256", None) != _digest(document):
        raise _damaged(path, "its own sha256 differs")
    if document.pop("format", None) != FORMAT:
        raise InputError(f"{path} is of a format that this version does not read")
    return _validated(path, document)


def _digest(content: Mapping[str, object]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _validated(path: Path, document: Mapping[str, object]) -> Manifest:
    try:
        manifest = TypeAdapter(Manifest).validate_python(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _damaged(path, f"{place}: {first['msg']}") from error
    paths = [entry.path for entry in manifest.files]
    if len(set(paths)) < len(paths):
        raise _damaged(path, "a file is listed twice")
    for name in paths:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "/".join(parts) != name:
            raise _damaged(path, f"the path {name!r} is not allowed")
    return manifest


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is damaged: {reason}", "esdctl verify --repair mends it")
