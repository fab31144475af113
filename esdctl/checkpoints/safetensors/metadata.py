"""What esdctl writes into the metadata of safetensors: one JSON object under one key.

One key, because safetensors writes several in a random order, and equal content must give equal
files.
"""

import json
from collections.abc import Mapping

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


def written_metadata(about: Mapping[str, object]) -> dict[str, str]:
    """The metadata of a file: ``about`` as JSON, its keys sorted."""
    return {METADATA_KEY: json.dumps(dict(about), sort_keys=True)}
