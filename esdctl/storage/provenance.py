"""What made a thing: versions, machine, command line and time."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import esdctl
from esdctl.redaction import redacted_arguments

_LIBRARIES = ("torch", "diffusers", "transformers", "safetensors", "numpy")


def collect(command_line: Sequence[str]) -> dict[str, object]:
    """Collect the provenance of what is about to be made, as a JSON document.

    Versions are read from the installed packages' metadata; none of them is imported.

    Args:
        command_line: program name and arguments, as in ``sys.argv``; its secrets are left out.
    """
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command_line": redacted_arguments(command_line),
        "versions": {
            "python": platform.python_version(),
            "esdctl": esdctl.__version__,
            **{name: _installed_version(name) for name in _LIBRARIES},
        },
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
    }


def _installed_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
