"""One of several names, in any case."""

from collections.abc import Sequence
from typing import TypeVar

from esdctl.errors import UsageError

Name = TypeVar("Name", bound=str)


def one_of(flag: str, text: str, known: Sequence[Name]) -> Name:
    """The name that a user means.

    Raises:
        UsageError: there is no such name; says which there are.
    """
    for name in known:
        if text.lower() == name:
            return name
    raise UsageError(f"{flag} is {text!r}", f"use one of {', '.join(known)}")
