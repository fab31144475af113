"""Numbers with their nouns: ``1 file``, ``2 files``."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """``number`` with its noun in the right form.

    Args:
        number: of the things.
        noun: for one of them.
        plural: for several, where it is not the noun with an ``s``.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
