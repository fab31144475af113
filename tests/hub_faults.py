"""What can go wrong on the way, as a script: which request, and what happens to its answer."""

import random
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass

KINDS = (
    "reset",  # the connection is reset in the middle of the body
    "stall",  # the body stops, the connection stays
    "truncate",  # the connection closes in the middle of the body
    "wrong-range",  # Content-Range is not what was asked for
    "expired",  # 403, as for a signed address after its hour
    "refuse-range",  # 403 to a Range, whatever the address
    "status",  # any other status, with Retry-After or without
    "etag",  # another ETag: the file was replaced
    "web-page",  # 200 and HTML, as login pages of hotels
    "gzip",  # compressed although identity was asked for
    "ignore-range",  # 200 and the whole file in answer to a Range
    "flip",  # one bit of the body is another
    "more",  # the body is longer than what was asked for
)


@dataclass(frozen=True)
class Fault:
    """One fault for one request.

    Args:
        kind: one of ``KINDS``.
        status: of kind ``status``.
        retry_after: the header of that name; "" for none.
        at: where in the body it happens, from 0 (its beginning) to 1.
        error_code: the hub's X-Error-Code; "" for none.
    """

    kind: str
    status: int = 503
    retry_after: str = ""
    at: float = 0.5
    error_code: str = ""

    def __post_init__(self) -> None:
        assert self.kind in KINDS, self.kind


class Script:
    """Says which fault, if any, a request meets; each scripted fault happens once.

    Args:
        lines: (pattern of the path, nth request that matches, fault); nth 0 means every one.
    """

    def __init__(self, lines: Sequence[tuple[str, int, Fault]] = ()) -> None:
        self._lines = list(lines)
        self._counts = [0] * len(self._lines)
        self._lock = threading.Lock()
        self.happened: list[str] = []

    def next_fault(self, path: str) -> Fault | None:
        with self._lock:
            found = None
            for index, (pattern, nth, fault) in enumerate(self._lines):
                if re.search(pattern, path):
                    self._counts[index] += 1
                    if found is None and nth in (0, self._counts[index]):
                        found = fault
            if found is not None:
                self.happened.append(found.kind)
            return found


class Chaos(Script):
    """Faults at random, seeded; after ``limit`` of them the server behaves.

    Args:
        seed: of the draws; with several connections their order still depends on the threads.
        share: of requests that meet a fault.
        limit: faults at most.
        kinds: what to draw from.
    """

    def __init__(self, seed: int, share: float, limit: int, kinds: Sequence[str]) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._share = share
        self._limit = limit
        self._kinds = kinds

    def next_fault(self, path: str) -> Fault | None:
        with self._lock:
            if len(self.happened) >= self._limit or self._random.random() >= self._share:
                return None
            fault = Fault(
                self._random.choice(self._kinds),
                status=self._random.choice([408, 429, 500, 502, 503, 504]),
                retry_after=self._random.choice(["", "", "0"]),
                at=self._random.random(),
            )
            self.happened.append(fault.kind)
            return fault
