"""What a value of TrainConfig must be beyond its type and limits. Loads no torch.

Each function takes a value, gives it back in its one spelling, or raises ValueError, which pydantic
tells with the key and its origin.
"""

import re
from typing import TypeVar

from pydantic import ValidationInfo

from esdctl.erasing.methods import Method, method_of
from esdctl.erasing.train_methods import moves_keys_and_values
from esdctl.erasing.until import parse_until
from esdctl.errors import UsageError
from esdctl.settings.devices import parse_devices

Edits = TypeVar("Edits", bool, int)

PLACE = "{concept}"  # where a prompt takes the concept's name


def device_text(value: object) -> object:
    """YAML reads ``0`` as a number and ``[0, 1]`` as a list."""
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    return str(value) if type(value) is int else value


def one_device_or_two(value: str | None) -> str | None:
    try:
        parse_devices(value or "cpu")
    except UsageError as error:
        raise ValueError(f"{error.message}; {error.hint}") from error
    return value


def measurable_end(value: str | None) -> str | None:
    """``until`` in its one spelling."""
    if value is None:
        return None
    try:
        return f"UA>={parse_until(value):g}"
    except UsageError as error:
        raise ValueError(f"{error.message}; {error.hint}") from error


def method_can_be_edited(value: Edits, info: ValidationInfo) -> Edits:
    """``warm_start`` and ``harden`` need a train method that moves keys and values."""
    method = info.data.get("train_method", "full")  # absent where it is at fault itself
    if value and not moves_keys_and_values(method):
        raise ValueError(
            f"edits keys and values of the cross-attention, and {method} moves none; use "
            "xattn, esd-x, esd-x-strict, notime or full"
        )
    return value


def something_to_do(value: int | None, info: ValidationInfo) -> int | None:
    """No pairs or iterations are enough only after a closed-form edit."""
    if value == 0 and not info.data.get("warm_start"):
        raise ValueError("must be at least 1, unless warm_start is all there is to do")
    return value


def method_agrees(value: Method | None, info: ValidationInfo) -> Method | None:
    """``method`` says no other thing than ``warm_start`` and the length."""
    warm_start, pairs, steps = map(info.data.get, ("warm_start", "pairs", "iterations"))
    length = pairs if steps is None else steps
    if value is None or warm_start is None or length is None:  # at fault themselves
        return value
    if value != method_of(warm_start, length):
        said = f"warm_start {str(warm_start).lower()} and {length} pairs or iterations"
        raise ValueError(
            f"contradicts {said}, which is {method_of(warm_start, length)}; "
            "leave them to the method"
        )
    return value


def separator_not_empty(value: str | None) -> str | None:
    if value == "":
        raise ValueError("must not be empty; leave it out for one prompt")
    return value


def concept_not_empty(value: str | None) -> str | None:
    if value is not None and not value.strip():
        raise ValueError("must not be empty; name what to erase, such as Abstractionism")
    return value


def one_is_a_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def prompts_can_be_filled(value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        rest = re.sub(r"(?<!\{)\{concept\}(?!\})", "it", text)
        _refuse_unfilled(rest, f"write {PLACE} where the concept goes")
    return value


def plain_texts(value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        plain_text(text)
    return value


def plain_text(value: str | None) -> str | None:
    if value is not None:
        _refuse_unfilled(value, "nothing is filled in here; write the words themselves")
    return value


def _refuse_unfilled(text: str, hint: str) -> None:
    """Refuse a text that is blank, or that has a word in braces, which would be drawn so."""
    if not text.strip():
        raise ValueError("must not be empty; leave it out")
    found = re.search(r"\{+\s*\w+\s*\}+", text)
    if found is not None:
        raise ValueError(f"has {found[0]}, which nothing fills in; {hint}")
