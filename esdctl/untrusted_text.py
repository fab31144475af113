"""A text of unknown origin in a message: in quotes, cut, and without power over a terminal."""

_LONGEST = 100  # characters


def shown(text: object) -> str:
    """A name from a file or a server, as a message may have it.

    Args:
        text: a text, bytes or a number; of anything else the type alone is named.

    Returns:
        It in quotes, control, invisible and unpaired characters escaped, cut when long.
    """
    known = text if isinstance(text, str | bytes) else _described(text)
    return repr(known) if len(known) <= _LONGEST else f"{known[:_LONGEST]!r}..."


def _described(value: object) -> str:
    return str(value) if isinstance(value, int) else type(value).__name__
