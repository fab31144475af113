"""How a hostile archive or listing is refused: one error."""

from esdctl.errors import IntegrityError

_HINT = "nothing of it was unpacked; tell its publisher, and do not open it by other means"


def refusal(message: str) -> IntegrityError:
    """The error to raise: ``message`` says what is wrong and with which member."""
    return IntegrityError(message, _HINT)
