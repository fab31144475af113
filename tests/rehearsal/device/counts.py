"""What a pretended device was asked for: kernels by name, copies and waits by our line."""

import sys
import threading
from collections import Counter
from dataclasses import dataclass, field

PACKAGE = "/esdctl/"
HERE = "/tests/rehearsal/"


@dataclass
class Counts:
    """Since the last ``reset``.

    Args:
        kernels: launches by operator.
        waits: where the host waits for a device, by kind and line.
        copies: between host and device that nothing waits for, likewise.
        copied: bytes between host and device.
    """

    kernels: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    copied: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def launch(self, operator: str) -> int:
        """Count a kernel; how many there are."""
        with self.lock:
            self.kernels[operator] += 1
            return self.kernels.total()

    def wait(self, kind: str) -> None:
        with self.lock:
            self.waits[f"{kind} {product_line()}"] += 1

    def copy(self, kind: str, size: int, is_waited_for: bool) -> None:
        with self.lock:
            self.copied += size
            (self.waits if is_waited_for else self.copies)[f"{kind} {product_line()}"] += 1

    def reset(self) -> None:
        with self.lock:
            for each in (self.kernels, self.waits, self.copies):
                each.clear()
            self.copied = 0

    def document(self) -> dict[str, object]:
        return {
            "kernels": dict(self.kernels.most_common()),
            "waits": dict(self.waits.most_common()),
            "copies": dict(self.copies.most_common()),
            "copied": self.copied,
        }


COUNTS = Counts()


def product_line() -> str:
    """The innermost line of the product that led here, as ``erasing/esd/loop.py:91``."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if PACKAGE in name and "site-packages" not in name and HERE not in name:
            return f"{name.rpartition(PACKAGE)[2]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "(outside)"
