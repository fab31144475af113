"""A function in a process of its own, so that its peak of memory is its own."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Generic, ParamSpec, TypeVar

from esdctl.models.memory import resident_peak

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Isolated(Generic[Result]):
    """What a process gave.

    Args:
        value: what the function returned.
        resident_bytes: the most memory that the process held at once, mapped files included.
        imported_bytes: what it held before it called the function: the interpreter, torch, and
            the function's own module.
    """

    value: Result
    resident_bytes: int
    imported_bytes: int


def isolated(
    function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> Isolated[Result]:
    """Call a function of a module in a new interpreter.

    Args:
        function: importable by its name.
        args, kwargs: what pickle can carry.

    Raises:
        Exception: what the function raised.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_watched, function, args, kwargs).result()


def _watched(
    function: Callable[..., Result], args: tuple[object, ...], kwargs: dict[str, object]
) -> Isolated[Result]:
    before = resident_peak()
    value = function(*args, **kwargs)
    return Isolated(value, resident_peak(), before)
