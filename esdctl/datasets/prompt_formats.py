"""Rows -> text, CSV or JSON Lines, which ``prompts.read_prompts`` reads back."""

import csv
import io
import json
from collections.abc import Iterator, Sequence

from esdctl.datasets.prompt_row import PromptRow

_SETTINGS = ("seed", "guidance", "width", "height")


def as_text(rows: Sequence[PromptRow]) -> Iterator[str]:
    """A prompt a line, its line breaks as spaces; a row's settings are left out."""
    for row in rows:
        yield " ".join(row.prompt.split("\n"))


def as_csv(rows: Sequence[PromptRow]) -> Iterator[str]:
    """A header, then a record a row; a record with a line break in a field is several lines."""
    columns = ["prompt", *_used_settings(rows), *_extra_columns(rows)]
    yield _record(columns)
    for row in rows:
        fields = _fields(row)
        yield _record([str(fields.get(column, "")) for column in columns])


def as_jsonl(rows: Sequence[PromptRow]) -> Iterator[str]:
    """An object a row, with the keys that it has."""
    for row in rows:
        yield json.dumps(_fields(row), ensure_ascii=False)


def _fields(row: PromptRow) -> dict[str, object]:
    settings = {name: getattr(row, name) for name in _SETTINGS}
    present = {name: value for name, value in settings.items() if value is not None}
    return {"prompt": row.prompt, **present, **row.extra}


def _used_settings(rows: Sequence[PromptRow]) -> list[str]:
    return [name for name in _SETTINGS if any(getattr(row, name) is not None for row in rows)]


def _extra_columns(rows: Sequence[PromptRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.extra))


def _record(fields: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()
