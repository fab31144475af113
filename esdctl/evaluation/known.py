"""UA of a run from the figures that evaluations left on disk. Loads no torch."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esdctl.errors import InputError
from esdctl.evaluation.figures_file import read_documents
from esdctl.models.named import DELTA_NAME
from esdctl.storage.digest import sha256_file


@dataclass(frozen=True)
class KnownUa:
    """What an evaluation found.

    Args:
        percent: of the target's pictures, those that the classifier does not name as the target.
        pictures: how many it was shown.
        protocol: such as ``pocket v1``, and whether something was changed of it.
    """

    percent: float
    pictures: int
    protocol: str


def known_ua(delta: Path, base_sha256: str, concept: str, folder: Path) -> KnownUa | None:
    """UA of an erased model by the evaluation with the most pictures; None where there is none.

    Args:
        delta: of the run; a missing one has no evaluation.
        base_sha256: digest of the model that it stands on.
        concept: the target, under the classifier's name.
        folder: of evaluations, ``outputs/evaluations`` in a workspace.
    """
    if not delta.is_file() or not folder.is_dir():
        return None
    try:
        documents = list(read_documents(folder, model_digest(delta, base_sha256)))
    except InputError:  # damaged, which report and compare tell
        return None
    found = [ua for document in documents if (ua := _ua(document, concept)) is not None]
    return max(found, key=lambda ua: ua.pictures, default=None)


def _ua(document: Mapping[str, Any], concept: str) -> KnownUa | None:
    try:
        ua, protocol = document["unlearning"][concept]["ua"], document["protocol"]
        named = f"{protocol['name']} v{protocol['version']}"
        named += ", changed" if protocol["changes"] else ""
        return KnownUa(float(ua["percent"]), int(ua["n"]), named)
    except (KeyError, TypeError, ValueError):  # of other targets, or without a picture
        return None


def model_digest(delta: Path, base_sha256: str) -> str:
    """As ``Pipeline.digest`` has it."""
    listing = f"{base_sha256}  base\n{sha256_file(delta)}  {DELTA_NAME}\n"
    return hashlib.sha256(listing.encode()).hexdigest()
