"""The figures of an evaluation on disk, a JSON document for reports and comparisons.

    <folder>/figures/<model>/<protocol>-<asked>.json

``<model>`` is the model's sha256, cut to 16 digits; ``<asked>`` stands for the protocol's content,
what was changed of it, the judge and the targets, so that another question is another file.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from esdctl.errors import InputError
from esdctl.storage.atomic import write_json

FORMAT = 1
FIGURES = "figures"


def figures_path(folder: Path, model: str, protocol: str, asked: str) -> Path:
    """Where a document lies.

    Args:
        folder: of evaluations, ``outputs/evaluations`` in a workspace.
        model: sha256 of the model.
        protocol: its name.
        asked: 16 digits of all that was asked.
    """
    return folder / FIGURES / model[:16] / f"{protocol}-{asked}.json"


def write_figures(path: Path, document: dict[str, object]) -> None:
    """Write a document in place of an earlier one.

    Raises:
        StorageError: the disk is full or not writable.
    """
    write_json(path, document)


def figures_files(folder: Path, model: str) -> list[Path]:
    """The documents of a model, the last written last."""
    files = (folder / FIGURES / model[:16]).glob("*.json")
    return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))


def read_documents(folder: Path, model: str) -> Iterator[dict[str, object]]:
    """The documents of a model as they are on disk.

    Raises:
        InputError: one is damaged.
    """
    for path in figures_files(folder, model):
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(
                f"cannot read {path}: {error}", "esdctl evaluate makes it anew"
            ) from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise InputError(f"{path} is no figures document", "esdctl evaluate makes it anew")
        yield document
