"""Pictures that another program made: a folder, and what each was asked to show.

What a picture was asked for is told by, in this order:

- ``pictures.jsonl``, ``metadata.jsonl`` or a single CSV in the folder, a row a picture: ``file``
  (or ``file_name``) and ``prompt`` (or ``text``), or ``style`` and ``object``; a CSV with
  ``case_number`` in place of ``file``, as the ESD authors' scripts read it, belongs to pictures
  called ``<case_number>_<n>.png``;
- the file's name, ``<Style>_<Object>_seed<N>.jpg``, as UnlearnCanvas's scripts write it.
"""

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from PIL import Image

from esdctl.datasets.folders import PICTURE_SUFFIXES
from esdctl.datasets.unlearn_canvas import EVALUATION_PROMPT, evaluation_prompt
from esdctl.errors import InputError
from esdctl.evaluation.cases import Case
from esdctl.evaluation.sources import Batches, stored_batches
from esdctl.progress import Reporter
from esdctl.sampling.plan import BatchSize, Picture
from esdctl.storage.digest import sha256_file
from esdctl.storage.user_path import user_path

TABLES = ("pictures.jsonl", "metadata.jsonl")
OWN_FILES = ("contact_sheet.png",)  # in the folders that sample writes; no picture of a prompt
_BY_NAME = re.compile(r"(?P<style>.+)_(?P<object>[^_]+)_seed(?P<seed>\d{1,18})\.\w+")
_BY_NUMBER = re.compile(r"(?P<number>\d+)(?:_\d+)?\.\w+")

Fields = Mapping[str, str]


@dataclass(frozen=True)
class GivenPictures:
    """The pictures of a folder, as a source of cases.

    Args:
        folder: where they lie.
        name: what to call their maker.
        names: a case's file -> its name in this folder, where that is another.
    """

    folder: Path
    name: str
    names: Mapping[str, str] = field(default_factory=dict)

    def renamed(self, names: Mapping[str, str]) -> "GivenPictures":
        """The same pictures under the file names of other cases."""
        return replace(self, names=names)

    def digest(self) -> str:
        """sha256 over the names and contents of all pictures."""
        return self._digest

    def prepare(self, cases: Sequence[Case], batch_size: BatchSize, reporter: Reporter) -> None:
        """They are there."""

    def batches(self, cases: Sequence[Case], batch_size: BatchSize) -> Batches:
        return stored_batches(cases, self.folder, self.names)

    @cached_property
    def _digest(self) -> str:
        lines = [f"{sha256_file(path)}  {path.name}\n" for path in picture_files(self.folder)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def given_pictures(folder: Path) -> GivenPictures:
    """A folder of pictures.

    Raises:
        InputError: it is missing, or holds no picture.
    """
    folder = user_path(folder)
    if not folder.is_dir():
        raise InputError(f"the folder of pictures {folder} does not exist")
    if not picture_files(folder):
        raise InputError(
            f"{folder} holds no picture", f"give one with {' or '.join(PICTURE_SUFFIXES)}"
        )
    return GivenPictures(folder, folder.name)


def picture_files(folder: Path) -> list[Path]:
    """The pictures of a folder, by name; contact sheets are none."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in PICTURE_SUFFIXES
        and path.name not in OWN_FILES
        and not path.name.startswith(".")
    )


def named_cases(
    folder: Path,
    styles: Sequence[str],
    objects: Sequence[str],
    wordings: Sequence[str] = (EVALUATION_PROMPT,),
) -> tuple[Case, ...]:
    """What each picture of a folder was asked to show, in a classifier's names.

    Args:
        folder: the pictures.
        styles, objects: the names that the classifier knows.
        wordings: prompts that tell a style and an object.

    Raises:
        InputError: nothing tells what a picture shows, or it is a name that is not known.
    """
    known = {
        evaluation_prompt(style, name, wording): (style, name)
        for wording in (*wordings, EVALUATION_PROMPT)
        for style in styles
        for name in objects
    }
    by_key = {(_key(style), _key(name)): (style, name) for style in styles for name in objects}
    rows = _rows(folder)
    cases = []
    for path in picture_files(folder):
        fields = rows.get(path.name, {})
        named = _BY_NAME.fullmatch(path.name)
        asked = fields if fields.get("style") and fields.get("object") else None
        pair: tuple[str, str] | None = None
        if asked:
            pair = by_key.get((_key(asked["style"]), _key(asked["object"])))
        elif fields.get("prompt"):
            pair = known.get(fields["prompt"].strip())
        elif named:
            pair = by_key.get((_key(named["style"]), _key(named["object"])))
        if pair is None:
            raise InputError(
                f"nothing tells which known style and object {path} was asked to show",
                "call it <Style>_<Object>_seed<N>.jpg, or add pictures.jsonl with file, style and "
                "object in each line; esdctl guide evaluation lists the ways",
            )
        prompt = fields.get("prompt") or evaluation_prompt(*pair)
        seed = fields.get("seed") or (named["seed"] if named else "")
        cases.append(Case(_picture(path, prompt, seed), *pair))
    return _all_different(cases, folder)


def free_cases(folder: Path) -> tuple[Case, ...]:
    """A case a picture, whatever it was asked to show; a table's prompt and categories, if told.

    Raises:
        InputError: a table of the folder is damaged.
    """
    rows = _rows(folder)
    cases = []
    for path in picture_files(folder):
        fields = rows.get(path.name, {})
        categories = tuple(
            name.strip() for name in fields.get("categories", "").split(",") if name.strip()
        )
        prompt = fields.get("prompt") or path.name
        cases.append(Case(_picture(path, prompt, fields.get("seed", "")), categories=categories))
    return _all_different(cases, folder)


def _picture(path: Path, prompt: str, seed: str) -> Picture:
    """The picture of a file; guidance and steps are not known, and stand as 0."""
    try:
        with Image.open(path) as opened:
            width, height = opened.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read the picture {path}: {error}", "make it again") from error
    number = int(seed) if seed.isascii() and seed.isdigit() and len(seed) < 19 else 0
    return Picture(path.name, prompt, number, 0.0, 0, width, height)


def _all_different(cases: Sequence[Case], folder: Path) -> tuple[Case, ...]:
    """Pictures of one prompt and seed get the numbers of their order as seeds."""
    seen: set[object] = set()
    different = []
    for index, case in enumerate(cases):
        if case.key in seen:
            made = case.picture
            case = Case(
                Picture(made.file, made.prompt, 10**15 + index, 0.0, 0, made.width, made.height),
                case.style,
                case.object,
                case.categories,
            )
        seen.add(case.key)
        different.append(case)
    return tuple(different)


def _rows(folder: Path) -> dict[str, Fields]:
    """By file name, the fields of the folder's table; empty where there is none.

    Raises:
        InputError: the table is damaged, or there are several CSV files.
    """
    for name in TABLES:
        if (folder / name).is_file():
            return dict(_by_file(_jsonl(folder / name), folder))
    tables = sorted(folder.glob("*.csv"))
    if len(tables) > 1:
        raise InputError(f"{folder} holds {len(tables)} CSV files", "leave one there")
    return dict(_by_file(_csv(tables[0]), folder)) if tables else {}


def _by_file(rows: Iterator[Fields], folder: Path) -> Iterator[tuple[str, Fields]]:
    numbered: dict[str, list[str]] = {}
    for path in picture_files(folder):
        if found := _BY_NUMBER.fullmatch(path.name):
            numbered.setdefault(str(int(found["number"])), []).append(path.name)
    for row in rows:
        fields = {**row, "prompt": row.get("prompt") or row.get("text", "")}
        fields["seed"] = row.get("seed") or row.get("evaluation_seed", "")
        file = row.get("file") or row.get("file_name") or row.get("filename")
        if file:
            yield Path(file).name, fields
        elif row.get("case_number", "").isdigit():
            for name in numbered.get(str(int(row["case_number"])), []):
                yield name, fields


def _jsonl(path: Path) -> Iterator[Fields]:
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: no JSON ({error})") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: expected an object")
        yield {
            str(key): value if isinstance(value, str) else json.dumps(value)
            for key, value in row.items()
        }


def _csv(path: Path) -> Iterator[Fields]:
    try:
        for row in csv.DictReader(_text(path).splitlines(keepends=True), strict=True):
            yield {key: value for key, value in row.items() if key and isinstance(value, str)}
    except csv.Error as error:
        raise InputError(f"{path} is no CSV table: {error}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}", "save it as text in UTF-8") from error


def _key(name: str) -> str:
    return "_".join(name.replace("_", " ").split()).casefold()
