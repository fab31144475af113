"""What a server has, before a byte of it is kept: sizes, digests, names, and whether to refuse."""

from dataclasses import dataclass, replace

from esdctl.catalog.artifacts import Artifact, FileSource, TreeSource, ZipSource
from esdctl.errors import IntegrityError, NetworkError
from esdctl.redaction import redacted
from esdctl.storage.manifest import MANIFEST_NAME
from esdctl.transfer.client import Http, shown_address
from esdctl.transfer.hub import at_endpoint, file_address, list_files
from esdctl.transfer.journal import Source
from esdctl.transfer.ranges import WantedFile
from esdctl.transfer.remote_file import Facts, NoRanges, RemoteFile, probe_file
from esdctl.transfer.zip.remote import read_contents
from esdctl.transfer.zip.unpacking import ZipContents


@dataclass(frozen=True)
class FoundZip:
    """A ZIP at a server; its contents are unknown (None) when the server has no ranges."""

    url: str
    facts: Facts
    contents: ZipContents | None

    @property
    def revision(self) -> str:
        return self.facts.revision


@dataclass(frozen=True)
class FoundTree:
    """Files of a repository at one commit, or a single file."""

    revision: str
    files: tuple[WantedFile, ...]


Found = FoundZip | FoundTree


def survey(http: Http, artifact: Artifact, revision: str = "") -> Found:
    """Ask the server what there is.

    Args:
        revision: a commit to look at in place of the newest one; "" for none.

    Raises:
        IntegrityError: a hostile archive or listing, or a file is missing that must be there.
        InputError: no file of the repository is wanted.
        NetworkError: there is no such thing, or the server does not answer.
        SourceChanged: the file changed while it was looked at.
    """
    if isinstance(artifact.source, ZipSource):
        return _survey_zip(http, artifact, artifact.source)
    if isinstance(artifact.source, FileSource):
        return _survey_file(http, artifact, artifact.source)
    source = replace(artifact.source, revision=revision) if revision else artifact.source
    return _survey_tree(http, artifact, source)


def check_contents(artifact: Artifact, contents: ZipContents) -> None:
    """Refuse an archive that is not what the catalogue says.

    Raises:
        IntegrityError: a file is missing, or one has the manifest's name.
    """
    _check_names(artifact, set(contents.places.values()))


def source_of(artifact: Artifact) -> str:
    """What is fetched, in words that differ when another thing would be; without its secrets."""
    source = artifact.source
    if not isinstance(source, TreeSource):
        return redacted(source.url, {})
    words = [artifact.address]
    if source.revision != "main":
        words.append(f"at {source.revision}")
    if source.include:
        words.append(f"only {' '.join(source.include)}")
    return ", ".join(words)


def journal_source(artifact: Artifact, found: Found) -> Source:
    """What the journal's bytes belong to."""
    if isinstance(found, FoundTree):
        return Source(source_of(artifact), found.revision)
    facts = found.facts
    return Source(
        source_of(artifact), f"{facts.revision} {facts.sha256 or facts.etag} {facts.size}"
    )


def _survey_zip(http: Http, artifact: Artifact, source: ZipSource) -> FoundZip:
    url = at_endpoint(http.options.endpoint, source.url)
    facts = probe_file(http, url)
    if http.options.proof == "whole" and not facts.sha256:
        raise NetworkError(
            f"{shown_address(source.url)}: the server does not tell the archive's sha256",
            "leave out --proof whole; every member is checked by size and CRC32",
        )
    if not facts.has_ranges:
        return FoundZip(url, facts, None)
    try:
        remote = RemoteFile(http, url, facts)
        try:
            contents = read_contents(remote, source.strip)
        except IntegrityError:  # bits can flip on the way, too; hostile is what is so twice
            contents = read_contents(remote, source.strip)
    except NoRanges:
        return FoundZip(url, replace(facts, has_ranges=False), None)
    check_contents(artifact, contents)
    return FoundZip(url, facts, contents)


def _survey_file(http: Http, artifact: Artifact, source: FileSource) -> FoundTree:
    url = at_endpoint(http.options.endpoint, source.url)
    facts = probe_file(http, url)
    if source.sha256 and facts.sha256 not in ("", source.sha256):
        raise IntegrityError(
            f"{shown_address(source.url)} has the sha256 {facts.sha256}, not {source.sha256}",
            "its publisher changed it, or something between did; nothing was kept",
        )
    known = replace(facts, sha256=source.sha256 or facts.sha256)
    _check_names(artifact, {source.name})
    return FoundTree(known.sha256 or known.revision, (WantedFile(source.name, url, known),))


def _survey_tree(http: Http, artifact: Artifact, source: TreeSource) -> FoundTree:
    listing = list_files(http, source)
    files = tuple(
        WantedFile(
            file.path,
            file_address(http.options.endpoint, source, listing.commit, file.path),
            Facts(file.size, sha256=file.sha256, revision=listing.commit),
            file.git_sha1,
        )
        for file in listing.files
    )
    _check_names(artifact, {file.path for file in files})
    return FoundTree(listing.commit, files)


def _check_names(artifact: Artifact, names: set[str]) -> None:
    for required in artifact.must_contain:
        if required not in names:
            raise IntegrityError(
                f"{artifact.address} lacks {required}",
                "the catalogue names another address, or "
                "its publisher changed it; nothing was kept",
            )
    for name in names:
        if name.lower() == MANIFEST_NAME:
            raise IntegrityError(f"{artifact.address} holds {name}, the name of our own manifest")
