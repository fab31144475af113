"""What esdctl writes into the metadata of safetensors: one JSON object under one key.

One key, because safetensors writes several in a random order, and equal content must give equal
files.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

METADATA_KEY = "esdctl"


def read_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The object's texts; empty where esdctl wrote nothing that can be read.

    Args:
        metadata: of a safetensors file, or what a pickle carried in its place.
    """
    try:
        about = json.loads(metadata.get(METADATA_KEY, "{}"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(about, dict):
        return {}
    return {str(key): value for key, value in about.items() if isinstance(value, str)}


def recorded_folder(about: Mapping[str, str]) -> Path | None:
    """The pipeline folder that supplied what the base's file lacked, if it is still here.

    Args:
        about: what ``read_metadata`` gives.
    """
    named = recorded_settings(about).get("pipeline")
    is_here = isinstance(named, str) and (Path(named) / "model_index.json").is_file()
    return Path(str(named)) if is_here else None


def recorded_settings(about: Mapping[str, str]) -> Mapping[str, object]:
    """The settings of the training, which lie there as JSON; empty where they cannot be read.

    Args:
        about: what ``read_metadata`` gives.
    """
    try:
        settings = json.loads(about.get("settings", "{}"))
    except (ValueError, RecursionError):
        return {}
    return settings if isinstance(settings, dict) else {}


@dataclass(frozen=True)
class ErasedName:
    """A concept that was erased from a model.

    Args:
        name: such as ``Van_Gogh``.
        kind: ``style``, ``object`` or ``i2p``; empty where unknown.
    """

    name: str
    kind: str


def erased_names(about: Mapping[str, str]) -> tuple[ErasedName, ...]:
    """The concepts that a model's metadata names: one of a delta, several of a sum of deltas.

    Args:
        about: what ``read_metadata`` gives: ``concept`` and ``concept_kind``, or ``concepts``, a
            JSON list of objects with ``name`` and ``kind``.
    """
    try:
        rows = json.loads(about.get("concepts", "[]"))
        several = tuple(ErasedName(str(row["name"]), str(row["kind"])) for row in rows)
    except (ValueError, RecursionError, TypeError, KeyError):
        several = ()
    if several or not about.get("concept"):
        return several
    return (ErasedName(about["concept"], about.get("concept_kind", "")),)


def written_names(names: Iterable[ErasedName]) -> str:
    """The value of ``concepts``."""
    return json.dumps([asdict(name) for name in names])


def written_metadata(about: Mapping[str, object]) -> dict[str, str]:
    """The metadata of a file: ``about`` as JSON, its keys sorted."""
    return {METADATA_KEY: json.dumps(dict(about), sort_keys=True)}
