"""stdout, the interface to other programs: a path a line, one JSON document, or JSON Lines.

Each call flushes, so a closed pipe shows here, as BrokenPipeError; ``esdctl.cli.app`` ends quietly.
"""

import json
from collections.abc import Mapping
from pathlib import Path


def print_line(text: str) -> None:
    """Print one line."""
    print(text, flush=True)


def print_path(path: Path) -> None:
    """Print a path, alone on its line, so that ``$(esdctl ...)`` gives it."""
    print_line(str(path))


def print_json(document: object) -> None:
    """Print the one JSON document of a command that was called with ``--json``."""
    print_line(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def print_json_line(event: Mapping[str, object]) -> None:
    """Print one event as a line of JSON Lines."""
    print_line(json.dumps(event, ensure_ascii=False, allow_nan=False))
