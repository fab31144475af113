"""Partial results in a folder: what was measured is not measured again."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from esdctl.storage.atomic import write_json, write_text
from esdctl.timing.machine import this_machine

Document = dict[str, Any]  # JSON


def kept(path: Path, measure: Callable[[], Document]) -> Document:
    """The document of a file, measured first if the file is not there yet."""
    if path.exists():
        print(f"{path.stem}: kept in {path}", file=sys.stderr, flush=True)
        document = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(document, dict)
        return document
    print(f"{path.stem}: measuring", file=sys.stderr, flush=True)
    document = measure()
    write_json(path, document)
    return document


def table(columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """A table in Markdown; numbers with four digits that count."""
    lines = [columns, ("---",) * len(columns), *(tuple(map(_cell, row)) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def show(text: str, path: Path) -> None:
    """Print a report and the machine it is of, and keep both."""
    about = this_machine()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())  # type: ignore[attr-defined]
    machine = (
        f"{about['processor']}, {about['cores']} cores, {about['threads']} threads, "
        f"{about['instructions']}; {versions}; {datetime.now(UTC).date().isoformat()}.\n"
    )
    write_text(path, f"{text}\n{machine}")
    print(f"{text}\n{machine}", end="")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "-" if value is None else str(value)
