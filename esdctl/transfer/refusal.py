"""How a hostile archive or listing is refused: one error, and names that cannot harm a terminal."""

from esdctl.errors import IntegrityError

_HINT = "nothing of it was unpacked; tell its publisher, and do not open it by other means"
_LONGEST_SHOWN = 100


def refusal(message: str) -> IntegrityError:
    """The error to raise: ``message`` says what is wrong and with which member."""
    return IntegrityError(message, _HINT)


def shown(name: str | bytes) -> str:
    """``name`` in quotes: control, invisible and unpaired characters escaped, cut when long."""
    if len(name) <= _LONGEST_SHOWN:
        return repr(name)
    return f"{name[:_LONGEST_SHOWN]!r}..."
