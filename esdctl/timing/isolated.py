"""A function in a process of its own, so that its peak of memory is its own."""

import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, ParamSpec, TypeVar

import torch

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


def peak_memory(device: torch.device) -> int:
    """The most memory in use at once so far, in bytes: of a CUDA device, else resident."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resident_peak()


def resident_peak() -> int:
    """The most memory that this process held at once, in bytes.

    Linux's ``VmHWM``: ``ru_maxrss`` starts from that of the parent process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _watched(
    function: Callable[..., Result], args: tuple[object, ...], kwargs: dict[str, object]
) -> Isolated[Result]:
    before = resident_peak()
    value = function(*args, **kwargs)
    return Isolated(value, resident_peak(), before)
