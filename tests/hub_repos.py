"""Repositories as the hub keeps them: commits, files, and their entries in a listing."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

LARGE = 10_000  # bytes from which on a file has a sha256 and lies at the storage


@dataclass(frozen=True)
class Blob:
    """One file's bytes, in memory or on the disk, and their digests."""

    content: bytes | Path
    size: int
    sha256: str
    git_sha1: str

    @property
    def is_large(self) -> bool:
        return self.size >= LARGE

    def read(self, start: int, end: int) -> bytes:
        if isinstance(self.content, bytes):
            return self.content[start:end]
        with self.content.open("rb") as file:
            file.seek(start)
            return file.read(end - start)


@dataclass
class Repo:
    """Every commit of one repository; the newest is the last."""

    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return list(self.commits)[-1]


def new_blob(content: bytes | Path) -> Blob:
    """A file and its digests; of a large file on the disk, git's is left out."""
    if isinstance(content, bytes):
        git_sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return Blob(content, len(content), hashlib.sha256(content).hexdigest(), git_sha1)
    with content.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Blob(content, content.stat().st_size, sha256, "0" * 40)


def listed(files: dict[str, Blob]) -> list[dict[str, object]]:
    """A repository's files and folders, as the tree API tells them."""
    folders = {str(p) for path in files for p in Path(path).parents if str(p) != "."}
    entries: list[dict[str, object]] = [
        {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
        for folder in sorted(folders)
    ]
    for path, blob in sorted(files.items()):
        entry: dict[str, object] = {
            "type": "file", "path": path, "size": blob.size, "oid": blob.git_sha1,
        }  # fmt: skip
        if blob.is_large:
            pointer = {"oid": blob.sha256, "size": blob.size, "pointerSize": 134}
            entry |= {"oid": "1" * 40, "lfs": pointer}
        entries.append(entry)
    return entries
