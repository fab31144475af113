"""The catalogue's YAML, checked: what an entry must, may and must not say."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from esdctl.errors import InputError
from esdctl.settings.yaml_file import read_yaml


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address that begins with https:// or http://")
    return url


def _file_address(url: str) -> str:
    if not urlsplit(_address(url)).path.rpartition("/")[2]:
        raise ValueError("must end with a file's name")
    return url


def _relative(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "/".join(parts) != path:
        raise ValueError("must be a plain relative path, such as models/mine")
    if "\\" in path or "\0" in path:
        raise ValueError("must not contain a backslash or NUL")
    return path


def _in_workspace(path: str) -> str:
    if PurePosixPath(_relative(path)).parts[0] not in ("models", "data"):
        raise ValueError("must lie in models/ or data/")
    if len(PurePosixPath(path).parts) < 2:
        raise ValueError("must be a folder of its own, such as models/mine")
    return path


def _name(text: str) -> str:
    if not text or text != text.strip() or text.startswith(("-", "hub:")) or "/" in text:
        raise ValueError("must be a word without /, not beginning with - or hub:")
    return text


Name = Annotated[str, AfterValidator(_name)]
RelativePath = Annotated[str, AfterValidator(_relative)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ZipEntry(_Strict):
    """A ZIP's address and its top folder that is not kept."""

    url: Annotated[str, AfterValidator(_address)]
    strip: RelativePath | Literal[""] = ""


class FileEntry(_Strict):
    """One file's address; it keeps the address's last name."""

    url: Annotated[str, AfterValidator(_file_address)]
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""


class TreeEntry(_Strict):
    """A hub repository."""

    repo: Annotated[str, AfterValidator(_relative)]
    repo_type: Literal["model", "dataset"]
    revision: str = "main"
    include: tuple[str, ...] = ()


class Entry(_Strict):
    """One artifact; exactly one of ``zip``, ``file`` and ``tree``."""

    name: Name
    kind: Literal["model", "dataset"]
    folder: Annotated[str, AfterValidator(_in_workspace)]
    variant: Literal["sample", "full", ""] = ""
    aliases: tuple[Name, ...] = ()
    zip: ZipEntry | None = None
    file: FileEntry | None = None
    tree: TreeEntry | None = None
    must_contain: tuple[RelativePath, ...] = ()
    about: str = ""

    @model_validator(mode="after")
    def _has_one_source(self) -> "Entry":
        if sum(source is not None for source in (self.zip, self.file, self.tree)) != 1:
            raise ValueError("must have one source, either zip, file or tree")
        return self


class _File(_Strict):
    artifacts: tuple[Entry, ...]


def read_entries(path: Path) -> tuple[Entry, ...]:
    """Read a catalogue's file.

    Raises:
        InputError: the file is missing or no YAML, or an entry is wrong; with its place.
    """
    if not path.is_file():
        raise InputError(f"the catalogue {path} does not exist", "pass a YAML file as --catalog")
    document = read_yaml(path)
    try:
        return _File.model_validate(document).artifacts
    except ValidationError as error:
        described = (_describe(finding, document) for finding in error.errors(include_url=False))
        raise InputError(
            f"{path}: {'; '.join(described)}", "README.md shows an entry of a catalogue"
        ) from error


def _describe(finding: ErrorDetails, document: dict[str, object]) -> str:
    """The entry's name or number, the key, and what is wrong with it."""
    place = list(finding["loc"])
    words = finding["msg"].removeprefix("Value error, ")
    fault = words[:1].lower() + words[1:]
    if len(place) < 2:
        return f"{place[0] if place else 'the file'}: {fault}"
    entries = document["artifacts"]
    number = int(place[1])
    entry = entries[number] if isinstance(entries, list) else None
    name = entry.get("name") if isinstance(entry, dict) else None
    key = ".".join(str(part) for part in place[2:])
    return f"{name or f'entry {number + 1}'}{f', {key}' if key else ''}: {fault}"
