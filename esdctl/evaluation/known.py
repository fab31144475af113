"""UA of a run from the predictions that evaluations left on disk. Loads no torch."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from esdctl.errors import InputError
from esdctl.models.named import DELTA_NAME
from esdctl.storage.atomic import read_jsonl
from esdctl.storage.digest import sha256_file


@dataclass(frozen=True)
class KnownUa:
    """What an evaluation found.

    Args:
        percent: of the target's pictures, those that the classifier does not name as the target.
        pictures: how many it was shown.
    """

    percent: float
    pictures: int


def known_ua(
    delta: Path, base_sha256: str, kind: str, concept: str, folder: Path
) -> KnownUa | None:
    """UA of an erased model by the evaluation with the most pictures; None where there is none.

    Args:
        delta: of the run; a missing one has no evaluation.
        base_sha256: digest of the model that it stands on.
        kind: ``style`` or ``object``.
        concept: the target, under the classifier's name.
        folder: where predictions lie, ``outputs/evaluations`` in a workspace.
    """
    if kind not in ("style", "object") or not delta.is_file() or not folder.is_dir():
        return None
    found = []
    for file in sorted(folder.glob(f"*/{_model_digest(delta, base_sha256)[:16]}.jsonl")):
        try:
            rows = [row for row in read_jsonl(file) if row.get(kind) == concept]
        except InputError:  # damaged, which evaluate will tell
            continue
        gone = sum(row.get(f"predicted_{kind}") != concept for row in rows)
        found += [KnownUa(100 * gone / len(rows), len(rows))] if rows else []
    return max(found, key=lambda ua: ua.pictures, default=None)


def _model_digest(delta: Path, base_sha256: str) -> str:
    """As ``Pipeline.digest`` has it."""
    listing = f"{base_sha256}  base\n{sha256_file(delta)}  {DELTA_NAME}\n"
    return hashlib.sha256(listing.encode()).hexdigest()
