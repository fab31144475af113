"""How a checkpoint that lies is refused: one error."""

from pathlib import Path

from esdctl.errors import IntegrityError

_HINT = "nothing of it was run or kept; get the file again from a publisher whom you trust"


def hostile(path: Path, fault: str) -> IntegrityError:
    """The error to raise: ``fault`` says what is wrong with the file at ``path``."""
    return IntegrityError(f"{path}: {fault}", _HINT)
