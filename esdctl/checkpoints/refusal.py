"""How a checkpoint that lies is refused: one error, and names that cannot harm a terminal."""

from pathlib import Path

from esdctl.errors import IntegrityError

_HINT = "nothing of it was run or kept; get the file again from a publisher whom you trust"
_LONGEST_SHOWN = 100


def hostile(path: Path, fault: str) -> IntegrityError:
    """The error to raise: ``fault`` says what is wrong with the file at ``path``."""
    return IntegrityError(f"{path}: {fault}", _HINT)


def shown(name: object) -> str:
    """A text in quotes, with everything escaped that a terminal might obey, cut when long."""
    text = str(name) if isinstance(name, str | int) else type(name).__name__
    quoted = ascii(text[:_LONGEST_SHOWN])
    return quoted if len(text) <= _LONGEST_SHOWN else f"{quoted}..."
