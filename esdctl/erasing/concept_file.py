"""A file that lists concepts, for ``train`` and ``sweep plan``. Loads no torch.

It is text with a concept a line (``#`` begins a comment), or CSV (``.csv``) with a head: ``name``,
and where wanted ``template``, ``prompt`` and ``erase_from``.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

from esdctl.errors import InputError
from esdctl.names import did_you_mean

COLUMNS = ("name", "template", "prompt", "erase_from")

Row = Mapping[str, str]  # of COLUMNS, without empty cells


def read_concepts(path: Path) -> list[Row]:
    """A file's concepts.

    Raises:
        InputError: it is missing, empty, or no such file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the concepts in {path}: {error}", "give a file") from error
    if path.suffix.lower() == ".csv":
        rows = _rows_of_csv(text, path)
    else:
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        rows = [{"name": line} for line in lines if line]
    if not rows:
        raise InputError(f"{path} names no concept", "write one a line")
    return rows


def _rows_of_csv(text: str, path: Path) -> list[Row]:
    reader = csv.DictReader(text.splitlines())
    columns = [column.strip() for column in reader.fieldnames or ()]
    for column in columns:
        if column not in COLUMNS:
            raise InputError(f"{path}: unknown column {column!r}", did_you_mean(column, COLUMNS))
    if "name" not in columns:
        raise InputError(f"{path} has no column called name", f"columns: {', '.join(COLUMNS)}")
    reader.fieldnames = columns
    rows: list[Row] = []
    for cells in reader:
        row = {key: value.strip() for key, value in cells.items() if key and value}
        if None in cells or not row.get("name"):
            fault = "too many cells" if None in cells else "no name"
            raise InputError(
                f"{path}, line {reader.line_num}: {fault}",
                'put quotes around a prompt with a comma: "a, b"',
            )
        rows.append(row)
    return rows
