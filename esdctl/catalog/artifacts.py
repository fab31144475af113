"""The catalogue: from a name to where its bytes come from and where they land."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from esdctl.catalog.entries import Entry, read_entries
from esdctl.errors import InputError, UsageError
from esdctl.names import nearest

BUILT_IN = Path(__file__).with_name("artifacts.yaml")
HUB_PREFIX = "hub:"
HUB_FOLDER = "models/hub"

# A diffusers folder without the copies in other formats and precisions that repositories keep.
# Patterns as of fnmatch, whose * goes across folders.
PIPELINE_FILES = (
    "model_index.json",
    "*/*.json",
    "*/*.txt",
    "*/*.model",  # SentencePiece
    "*/diffusion_pytorch_model.safetensors",
    "*/diffusion_pytorch_model-?????-of-?????.safetensors",
    "*/model.safetensors",
    "*/model-?????-of-?????.safetensors",
)

# The hub's rule for names: letters, digits, - _ . with no - or . at either end, no -- and no ..
_HUB_NAME = r"(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?"
_HUB_ID = re.compile(rf"({_HUB_NAME})/({_HUB_NAME})", re.ASCII)


@dataclass(frozen=True)
class ZipSource:
    """One ZIP; ``strip`` is its top folder that is not kept, or ""."""

    url: str
    strip: str


@dataclass(frozen=True)
class FileSource:
    """One file; its ``sha256``, or "" where only the server's first answer is known."""

    url: str
    sha256: str = ""

    @property
    def name(self) -> str:
        """Under which it is kept: the last part of its address."""
        return urlsplit(self.url).path.rpartition("/")[2]


@dataclass(frozen=True)
class TreeSource:
    """The files of a hub repository; ``include`` holds globs, none means every file."""

    repo: str
    repo_type: Literal["model", "dataset"]
    revision: str = "main"
    include: tuple[str, ...] = ()


Source = ZipSource | FileSource | TreeSource


@dataclass(frozen=True)
class Artifact:
    """Something to download.

    Args:
        name: what the user types.
        kind: model or dataset.
        variant: ``sample``, ``full`` or "".
        source: where its bytes come from.
        folder: where it lands, relative to the workspace's root, with ``/``.
        must_contain: files in the folder without which the source is not what it should be.
        about: one line.
        aliases: other names.
    """

    name: str
    kind: Literal["model", "dataset"]
    variant: Literal["sample", "full", ""]
    source: Source
    folder: str
    must_contain: tuple[str, ...]
    about: str
    aliases: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name and variant, such as ``i2p --sample``: what the user types to get it."""
        return f"{self.name} --{self.variant}" if self.variant else self.name

    @property
    def address(self) -> str:
        """Where it comes from, in one word."""
        if not isinstance(self.source, TreeSource):
            return self.source.url
        return f"{self.source.repo} ({self.source.repo_type})"


@dataclass(frozen=True)
class Catalog:
    """Artifacts, each name and variant once."""

    artifacts: tuple[Artifact, ...]

    def find(self, name: str, variant: str = "") -> Artifact:
        """The artifact that a name means; ``hub:OWNER/NAME`` means that model of the hub.

        Raises:
            UsageError: there is none; with the nearest names, or the variants there are.
        """
        if name.startswith(HUB_PREFIX):
            return hub_artifact(name)
        variants = {artifact.variant: artifact for artifact in self.variants(name)}
        if variant in variants:
            return variants[variant]
        known = [known_variant for known_variant in variants if known_variant]
        if variant:
            raise UsageError(
                f"{name} has no variant {variant}",
                f"use --{' or --'.join(known)}" if known else "leave out --sample and --full",
            )
        only = next(iter(variants.values()))
        raise UsageError(
            f"{name} has the variants {' and '.join(known)}",
            f"use `esdctl dataset fetch {only.name} --{' or --'.join(known)}`",
        )

    def variants(self, name: str) -> tuple[Artifact, ...]:
        """Every variant of a name; at least one.

        Raises:
            UsageError: there is none; with the nearest names.
        """
        found = tuple(entry for entry in self.artifacts if name in (entry.name, *entry.aliases))
        if not found:
            raise UsageError(f"nothing is called {name!r}", _nearest(name, self.artifacts))
        return found


def load_catalog(extra: Path | None) -> Catalog:
    """The built-in catalogue, and the user's own entries after it.

    Args:
        extra: a YAML file of the form of ``artifacts.yaml``, or None.

    Raises:
        InputError: the file is missing or damaged, or an entry takes another's name or folder.
    """
    artifacts = _read(BUILT_IN)
    if extra is not None:
        artifacts += _read(extra)
    _check_distinct(artifacts, extra or BUILT_IN)
    return Catalog(artifacts)


def hub_artifact(name: str, include: Iterable[str] = ()) -> Artifact:
    """The artifact for ``hub:OWNER/NAME``.

    Args:
        name: with the prefix.
        include: globs; without any, the files of a diffusers pipeline.

    Raises:
        UsageError: the name is no hub id.
    """
    found = _HUB_ID.fullmatch(name.removeprefix(HUB_PREFIX))
    if found is None:
        raise UsageError(f"{name!r} is no model of the hub", "write hub:OWNER/NAME")
    globs = tuple(include)
    owner, repository = found.groups()
    return Artifact(
        name=name,
        kind="model",
        variant="",
        source=TreeSource(f"{owner}/{repository}", "model", include=globs or PIPELINE_FILES),
        folder=f"{HUB_FOLDER}/{owner}--{repository}",
        must_contain=() if globs else ("model_index.json",),
        about="a model of the hub",
    )


def _read(path: Path) -> tuple[Artifact, ...]:
    return tuple(
        Artifact(
            name=entry.name,
            kind=entry.kind,
            variant=entry.variant,
            source=_source(entry),
            folder=entry.folder,
            must_contain=entry.must_contain,
            about=entry.about,
            aliases=entry.aliases,
        )
        for entry in read_entries(path)
    )


def _source(entry: Entry) -> Source:
    if entry.tree is not None:
        return TreeSource(**entry.tree.model_dump())
    if entry.file is not None:
        return FileSource(entry.file.url, entry.file.sha256)
    assert entry.zip is not None  # an entry has one of the three
    return ZipSource(entry.zip.url, entry.zip.strip)


def _check_distinct(artifacts: tuple[Artifact, ...], path: Path) -> None:
    """Refuse two artifacts that one name means, or whose folders overlap."""
    for index, new in enumerate(artifacts):
        for old in artifacts[:index]:
            shared = {new.name, *new.aliases} & {old.name, *old.aliases}
            if shared and (new.name != old.name or new.variant == old.variant):
                raise InputError(
                    f"{path}: {min(shared)} is in the catalogue already", "choose another name"
                )
            if f"{new.folder}/".startswith(f"{old.folder}/") or f"{old.folder}/".startswith(
                f"{new.folder}/"
            ):
                raise InputError(
                    f"{path}: the folder {new.folder} of {new.title} overlaps that of {old.title}",
                    "choose another folder",
                )


def _nearest(name: str, artifacts: tuple[Artifact, ...]) -> str:
    names = {known: entry.name for entry in artifacts for known in (entry.name, *entry.aliases)}
    near = dict.fromkeys(names[known] for known in nearest(name, names))
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(dict.fromkeys(names.values()))}, or hub:OWNER/NAME"
