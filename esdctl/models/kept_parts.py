"""Parts of models that a process keeps from one work to the next.

Text encoders and VAEs: no erasure changes them, so one that was opened serves every model on the
same base. A process that does many works asks for it; in all others a part goes with its model.
"""

from collections.abc import Callable, Hashable
from typing import Any

_kept: dict[Hashable, Any] | None = None  # None where nothing is kept


def keep_parts() -> None:
    """From now on, parts stay in memory for the next model that has the same ones."""
    global _kept  # one for the process
    if _kept is None:
        _kept = {}


def kept(key: Callable[[], Hashable], opened: Callable[[], Any]) -> Any:
    """A part that is kept, else a new one.

    Args:
        key: gives what its content depends on; not asked where nothing is kept.
        opened: opens it.
    """
    if _kept is None:
        return opened()
    name = key()
    if name not in _kept:
        _kept[name] = opened()
    return _kept[name]
