"""Prompts from a file or stdin: plain text, CSV or JSON Lines in, rows out."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from esdctl.datasets.prompt_bytes import name_of, read_text
from esdctl.datasets.prompt_row import NUMBER_COLUMNS, PromptRow, checked_text, row_of
from esdctl.errors import InputError

# What others call the column of prompts.
_PROMPTS_ELSEWHERE = ("caption", "text", "captions", "prompts")
# Columns that such a table may have beside it; a plain prompt does not consist of these words.
_OTHER_COLUMNS = {
    *NUMBER_COLUMNS, "id", "index", "case_number", "file", "file_name", "filename", "image",
    "image_id", "image_path", "path", "url", "category", "categories",
}  # fmt: skip
_LIST_MARK = re.compile(r"([-*+\u2022]|\d+[.)])\s+\S")  # - a cat, 1. a cat


def read_prompts(source: Path | str) -> list[PromptRow]:
    """Read prompts.

    ``.csv``, ``.tsv`` (a column ``prompt``; commas, tabs or semicolons) and ``.jsonl`` (an object a
    line) are what they are called. Otherwise, and on stdin, the first line tells: a JSON list or
    object, or a header with a column ``prompt``, else plain text, a prompt a line.

    Args:
        source: a path, or ``-`` for stdin.

    Returns:
        The rows, in order; at least one.

    Raises:
        InputError: no such file or no end of it, not UTF-8, no prompts, no prompt column, a list
            with marks, or a bad value.
    """
    name, text = name_of(source), read_text(source)
    rows = list(_parser(text, name)(text, name))
    if not rows:
        raise InputError(f"{name}: no prompts in it", "give one prompt a line")
    return rows


def prompts_from(texts: Iterable[str]) -> list[PromptRow]:
    """Rows of prompts that were given on the command line.

    Raises:
        InputError: a text is not valid Unicode.
    """
    return [PromptRow(checked_text(text, "--prompt")) for text in texts]


def _parser(text: str, name: str) -> Callable[[str, str], Iterator[PromptRow]]:
    start = text.lstrip()
    if start.startswith("[") and Path(name).suffix.lower() != ".jsonl":
        return _from_json
    suffix = Path(name).suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _from_csv
    if suffix == ".jsonl":
        return _from_jsonl
    first_line = start.partition("\n")[0].strip()
    if first_line.startswith("{") and first_line.endswith("}") and '"' in first_line:
        return _from_jsonl
    table = _without_separator_line(start)[0].lstrip().partition("\n")[0]
    header = _header(table.split(_delimiter(table)))
    if "prompt" in header:
        return _from_csv if table.strip() != "prompt" else _from_text
    return _from_csv if _is_table_of_others(header) else _from_text


def _is_table_of_others(header: list[str]) -> bool:
    """Whether a first line is a header whose prompts have another name, which the CSV's error says.

    pandas leaves the name of its first column, the row's number, empty.
    """
    is_table = header[0] == "" or any(column in _OTHER_COLUMNS for column in header)
    return is_table and any(column in _PROMPTS_ELSEWHERE for column in header)


def _delimiter(header: str) -> str:
    """What separates the columns of a table: Excel writes ``;`` where a comma is decimal."""
    return max(",\t;", key=header.count)


def _without_separator_line(text: str) -> tuple[str, str | None]:
    """The text without Excel's line ``sep=;``, and the separator that it names."""
    first, _, rest = text.partition("\n")
    found = first.strip().strip('"').lower()
    if found.startswith("sep=") and len(found) <= 5:
        return rest, first.strip().strip('"')[4:] or "\t"
    return text, None


def _from_text(text: str, name: str) -> Iterator[PromptRow]:
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    lines = [(number, line) for number, line in lines if line]
    marked = [number for number, line in lines if _LIST_MARK.match(line)]
    if 2 * len(marked) > len(lines):
        raise InputError(
            f"{name}, line {marked[0]}: a list mark, which would be part of the prompt",
            "remove the marks, or give a CSV with a column prompt where they are meant",
        )
    for number, line in lines:
        yield PromptRow(checked_text(line, f"{name}, line {number}"))


def _from_csv(text: str, name: str) -> Iterator[PromptRow]:
    text, delimiter = _without_separator_line(text)
    before = 0 if delimiter is None else 1  # lines that are not handed to the reader
    if delimiter is None:
        delimiter = _delimiter(text.lstrip().partition("\n")[0])
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    line = 1 + before  # where the record begins; quoted fields may hold line breaks
    header: list[str] | None = None
    try:
        for record in reader:
            place, line = f"{name}, line {line}", reader.line_num + 1 + before
            if not any(record):
                continue
            if header is None:
                header = _checked_header(record, place)
                continue
            while len(record) > len(header) and not record[-1].strip():
                record.pop()  # trailing commas
            if len(record) != len(header):
                raise InputError(f"{place}: {len(record)} fields, the header has {len(header)}")
            yield row_of(dict(zip(header, record, strict=True)), place)
    except csv.Error as error:
        raise InputError(
            f"{name}, line {line}: not CSV ({error})", "check its quotes and commas"
        ) from error


def _from_json(text: str, name: str) -> Iterator[PromptRow]:
    """A JSON list of texts or of objects; text that only begins with a bracket is plain."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if Path(name).suffix.lower() in (".txt", "") and not text.lstrip().startswith(('["', "[{")):
            yield from _from_text(text, name)
            return
        raise InputError(f"{name}: not JSON ({error})", "give a list of texts") from error
    for number, item in enumerate(content, start=1):
        place = f"{name}, item {number}"
        if isinstance(item, str):
            yield PromptRow(checked_text(item, place))
        elif isinstance(item, dict) and isinstance(item.get("prompt"), str):
            yield row_of({key: _as_text(value) for key, value in item.items()}, place)
        else:
            raise InputError(f"{place}: no prompt", 'write "..." or {"prompt": "..."}')


def _from_jsonl(text: str, name: str) -> Iterator[PromptRow]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{place}: not JSON ({error})", "give one object a line") from error
        if not isinstance(content, dict):
            raise InputError(f"{place}: not a JSON object", 'write {"prompt": "..."}')
        if not isinstance(content.get("prompt"), str):
            raise InputError(f"{place}: no text under the key prompt", 'write {"prompt": "..."}')
        yield row_of({key: _as_text(value) for key, value in content.items()}, place)


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _header(names: list[str]) -> list[str]:
    return [name.strip().strip('"').lower() for name in names]


def _column_hint(names: Iterable[str]) -> str:
    meant = [name for name in names if name in _PROMPTS_ELSEWHERE]
    held = meant[0] if meant else "that holds the prompts"
    return f"name the column {held} `prompt`"


def _checked_header(record: list[str], place: str) -> list[str]:
    header = _header(record)
    while len(header) > 1 and not header[-1]:
        header.pop()  # trailing commas
    if "prompt" not in header:
        raise InputError(
            f"{place}: no column prompt (columns: {', '.join(filter(None, header))})",
            _column_hint(header),
        )
    if len(set(header)) < len(header):
        raise InputError(f"{place}: two columns have the same name")
    return header
