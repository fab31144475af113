"""A hub repository: its commit, its files with sizes and digests, and their addresses."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import quote

import httpx

from esdctl.catalog.artifacts import TreeSource
from esdctl.errors import InputError, IntegrityError, NetworkError
from esdctl.transfer.client import Http, shown_address
from esdctl.transfer.options import DEFAULT_ENDPOINT
from esdctl.transfer.retry import Transient
from esdctl.transfer.zip.rules import check_names

MAX_ANSWER = 32 * 2**20  # bytes of one page of a listing
MAX_FILES = 1_000_000
_COMMIT = re.compile(r"[0-9a-f]{40}")
_NEXT = re.compile(r"""<([^>]*)>\s*;[^,]*\brel="?next"?""")


@dataclass(frozen=True)
class HubFile:
    """One file of a repository.

    Args:
        path: below the repository's root, checked by ``zip.names.check_names``.
        size: in bytes.
        sha256: of a large file; "" when the hub tells none.
        git_sha1: of git's blob, which checks small files; "" when the hub tells none.
    """

    path: str
    size: int
    sha256: str
    git_sha1: str


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit."""

    commit: str
    files: tuple[HubFile, ...]


def list_files(http: Http, source: TreeSource) -> Listing:
    """List the files of a repository that match ``source.include``, at the commit of now.

    Raises:
        NetworkError: there is no such repository, or the hub does not answer.
        IntegrityError: the listing holds a name that must not be written, or is no listing.
        InputError: no file matches.
    """
    api = f"{http.options.endpoint}/api/{source.repo_type}s/{quote(source.repo)}"
    commit = _commit(http, f"{api}/revision/{quote(source.revision, safe='')}")
    files = [
        file
        for file in _listed(http, f"{api}/tree/{commit}?recursive=true")
        if not source.include or any(fnmatchcase(file.path, glob) for glob in source.include)
    ]
    if not files:
        raise InputError(f"no file of {source.repo} matches", "check --include")
    check_names(file.path for file in files)
    return Listing(commit, tuple(files))


def file_address(endpoint: str, source: TreeSource, commit: str, path: str) -> str:
    """The ``resolve`` address of one file at one commit."""
    prefix = "datasets/" if source.repo_type == "dataset" else ""
    return f"{endpoint}/{prefix}{quote(source.repo)}/resolve/{commit}/{quote(path)}"


def at_endpoint(endpoint: str, url: str) -> str:
    """An address of the default hub, moved to the hub that the user chose."""
    if url.startswith(f"{DEFAULT_ENDPOINT}/"):
        return endpoint + url.removeprefix(DEFAULT_ENDPOINT)
    return url


def _commit(http: Http, url: str) -> str:
    document, _ = _get_json(http, url)
    commit = document.get("sha") if isinstance(document, dict) else None
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise NetworkError(f"{shown_address(url)}: the hub names no commit")
    return commit


def _listed(http: Http, url: str) -> Iterator[HubFile]:
    """All pages of a listing, in its order."""
    count = 0
    seen: set[str] = set()
    while url and url not in seen:
        seen.add(url)
        document, link = _get_json(http, url)
        if not isinstance(document, list):
            raise IntegrityError(f"{shown_address(url)}: not a list of files")
        for entry in document:
            if isinstance(entry, dict) and entry.get("type") == "directory":
                continue
            count += 1
            if count > MAX_FILES:
                raise IntegrityError(f"{shown_address(url)}: more than {MAX_FILES} files")
            yield _hub_file(entry, url)
        following = _NEXT.search(link)
        url = str(httpx.URL(url).join(following.group(1))) if following else ""


def _hub_file(entry: object, url: str) -> HubFile:
    if not isinstance(entry, dict):
        raise IntegrityError(f"{shown_address(url)}: an entry of the listing is no object")
    lfs = entry.get("lfs")
    large = lfs if isinstance(lfs, dict) else {}
    path, size = entry.get("path"), large.get("size", entry.get("size"))
    if not isinstance(path, str) or not isinstance(size, int) or size < 0:
        raise IntegrityError(f"{shown_address(url)}: an entry of the listing lacks path or size")
    sha256 = str(large.get("oid", "")).removeprefix("sha256:")
    git_sha1 = "" if large else str(entry.get("oid", ""))
    if not re.fullmatch(r"([0-9a-f]{64})?", sha256) or not re.fullmatch(
        r"([0-9a-f]{40})?", git_sha1
    ):
        raise IntegrityError(f"{shown_address(url)}: the digest of {path!r} is none")
    return HubFile(path, size, sha256, git_sha1)


def _get_json(http: Http, url: str) -> tuple[object, str]:
    """A JSON document and the answer's Link header."""

    def attempt() -> tuple[object, str]:
        with http.open(url, {"Accept": "application/json"}) as answer:
            body = bytearray()
            for chunk in answer.chunks:
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise NetworkError(
                        f"{shown_address(url)}: an answer of more than {MAX_ANSWER} bytes"
                    )
            try:
                return json.loads(body), str(answer.headers.get("link", ""))
            except ValueError as error:
                raise Transient(shown_address(url), "the answer is not JSON") from error

    return http.retrying(attempt)
