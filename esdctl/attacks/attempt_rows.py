"""The rows of an attack, a case each, as they are done: what an interrupted attack goes on from."""

from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from esdctl.attacks.target import Attempt, save_picture
from esdctl.errors import InputError
from esdctl.storage.atomic import append_jsonl, read_jsonl


@dataclass(frozen=True)
class Row:
    """A case that is done.

    Args:
        digest: of all settings.
        index: the case's.
        found, score: what the judge sees on the best picture.
        picture: its file, below the attack's folder; None for none.
        prompt, seed, what: what made it.
        seconds: that the case took, what was learned before it among them.
        tokens: as the attempt has them.
    """

    digest: str
    index: int
    found: bool
    score: float
    picture: str | None
    prompt: str | None
    seed: int
    what: str
    seconds: float
    tokens: tuple[int, ...] = ()


_ROW = TypeAdapter(Row)


def read_rows(path: Path, digest: str) -> dict[int, Row]:
    """The rows of these settings, by case."""
    if not path.exists():
        return {}
    rows = {}
    for number, document in enumerate(read_jsonl(path), start=1):
        try:
            row = _ROW.validate_python(document)
        except ValidationError as error:
            raise InputError(
                f"{path}, line {number}: {error.errors()[0]['msg']}",
                "move the file away; its cases are then attacked again",
            ) from error
        if row.digest == digest:
            rows[row.index] = row
    return rows


def stored(path: Path, digest: str, attempt: Attempt, seconds: float) -> Row:
    picture = None
    if attempt.picture is not None:
        picture = f"pictures/{digest[:8]}-{attempt.case.index:04}.png"
        save_picture(path.parent / picture, attempt.picture)
    row = Row(
        digest,
        attempt.case.index,
        bool(attempt.found),
        float(attempt.score),
        picture,
        attempt.prompt,
        int(attempt.seed),
        attempt.what,
        round(seconds, 3),
        attempt.tokens,
    )
    append_jsonl(path, asdict(row))
    return row
