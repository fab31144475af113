"""What a pickle is made into: plain values, containers that know their depth, and inert stubs."""

from typing import Any

from esdctl.checkpoints.pickles.names import GlobalName
from esdctl.untrusted_text import shown

MAX_DEPTH = 100  # containers inside containers; Lightning's checkpoints have about 10


class PickleFault(Exception):
    """What is wrong with a pickle, without the file's name.

    Args:
        fault: for the message.
        is_other_kind: the pickle is no attack and not damaged, only nothing that is read here.
    """

    def __init__(self, fault: str, *, is_other_kind: bool = False) -> None:
        super().__init__(fault)
        self.fault = fault
        self.is_other_kind = is_other_kind


class Table(dict[str, Any]):
    """A dict, an OrderedDict or the like. Its keys are texts: hashing them runs no one's code."""

    depth = 1

    def put(self, key: object, value: object) -> None:
        """Add an entry; keys other than texts are described, since no weight has one."""
        name = key if type(key) is str else f"<{type(key).__name__} {describe(key)}>"
        if name in self and type(key) is str:
            raise PickleFault(f"it lists the key {shown(name)} twice")
        self.depth = depth_with(self, value)
        self[name] = value


class Items(list[Any]):
    """A list."""

    depth = 1

    def put(self, value: object) -> None:
        self.depth = depth_with(self, value)
        self.append(value)


class Row(tuple[Any, ...]):
    """A tuple."""

    depth = 1

    @classmethod
    def of(cls, values: list[Any]) -> "Row":
        row = cls(values)
        row.depth = max((depth_with(row, value) for value in values), default=1)
        return row


class Inert:
    """What a call of an unknown class would have made; it holds nothing of its arguments."""

    def __init__(self, made_by: GlobalName | None) -> None:
        self.made_by = made_by


def depth_with(container: Any, value: Any) -> int:
    """The container's depth when it holds the value as well.

    Raises:
        PickleFault: the nesting is a bomb.
    """
    depth: int = max(container.depth, 1 + getattr(value, "depth", 0))
    if depth > MAX_DEPTH:
        raise PickleFault(f"it nests containers deeper than {MAX_DEPTH}")
    return depth


def describe(value: object) -> str:
    """A value in a few characters; for names of what was dropped."""
    if isinstance(value, GlobalName):
        return str(value)
    if isinstance(value, Inert):
        return str(value.made_by or "object")
    if isinstance(value, bool | int | float | str | bytes) or value is None:
        return ascii(value)[:100]
    return type(value).__name__
