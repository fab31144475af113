"""stdout, the interface to other programs: a path a line, one JSON document, or JSON Lines.

Each call flushes, so a closed pipe shows here, as BrokenPipeError; ``esdctl.cli.app`` ends quietly.
Where stdout and the bars of stderr are one terminal, a line appears above the bars.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from esdctl.cli.terminal import bars_hidden


def print_line(text: str) -> None:
    """Print one line."""
    with bars_hidden():
        print(text, flush=True)


def print_path(path: Path) -> None:
    """Print a path, alone on its line, so that ``$(esdctl ...)`` gives it.

    Its bytes go out as the file system has them, whatever the encoding of stdout is.
    """
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:  # a notebook's
        return print_line(str(path))
    with bars_hidden():
        sys.stdout.flush()
        stream.write(os.fsencode(path) + b"\n")
        stream.flush()
    return None


def print_document(document: object, as_json: bool) -> None:
    """Print a plan: YAML for people, or the one JSON document of ``--json``."""
    if as_json:
        return print_json(document)
    import yaml

    plain = json.loads(json.dumps(document))  # lists once more, so that YAML needs no anchors
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=1000)
    return print_line(text.rstrip())


def print_json(document: object) -> None:
    """Print the one JSON document of a command that was called with ``--json``."""
    print_line(_as_json(document, indent=2))


def print_json_line(event: Mapping[str, object]) -> None:
    """Print one event as a line of JSON Lines."""
    print_line(_as_json(event))


def _as_json(document: object, indent: int | None = None) -> str:
    """JSON text that stdout can carry; what it cannot (a byte of a path) is escaped."""
    text = json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(document, indent=indent, allow_nan=False)
    return text
