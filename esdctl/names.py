"""Did you mean: the known names that look most like an unknown one."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], n: int = 1, otherwise: str | None = None) -> str:
    """A hint for a name that is unknown.

    Args:
        name: as the user wrote it.
        known: the names that would do.
        n: how many of them to offer at most.
        otherwise: the hint where none looks alike; None for a list of all.

    Returns:
        Such as ``did you mean Dogs or Frogs?``, or ``known: Dogs, Frogs``; one line.
    """
    names = list(dict.fromkeys(known))
    near = nearest(name, names, n)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(names)}" if otherwise is None else otherwise


def nearest(name: str, known: Iterable[str], n: int = 3, cutoff: float = 0.55) -> list[str]:
    """The known names most like ``name``, best first; letters' case, ``_`` and ``-`` count alike.

    Args:
        name: as the user wrote it.
        known: the names to choose from.
        n: how many at most.
        cutoff: the least similarity, 0 to 1, as ``difflib`` counts it.
    """
    spellings: dict[str, list[str]] = {}
    for candidate in dict.fromkeys(known):
        spellings.setdefault(_folded(candidate), []).append(candidate)
    found = get_close_matches(_folded(name), spellings, n=n, cutoff=cutoff)
    return [candidate for folded in found for candidate in spellings[folded]][:n]


def _folded(name: str) -> str:
    return name.casefold().replace("_", "-").replace(" ", "-")
