"""``--until "UA>=99"``: training stops where a probe measures that the concept is gone.

UA, unlearning accuracy, is the share of the concept's pictures that a classifier no longer takes
for it (Zhang et al. 2024). What the probe costs is in the log. Loads no torch.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from esdctl.errors import UsageError
from esdctl.progress import Reporter
from esdctl.storage.atomic import append_jsonl, read_jsonl


@dataclass(frozen=True)
class Probed:
    """What a probe saw.

    Args:
        ua: in percent, of the pictures that were made.
        pictures: how many; fewer than it could make where the answer was clear before.
        is_reached: whether the threshold is met.
    """

    ua: float
    pictures: int
    is_reached: bool


# Given the least UA in percent: samples the student as it is, and measures.
Probe = Callable[[float], Probed]

_NO_PROBE_HINT = "leave --until out, or train a model that has a classifier"


def parse_until(text: str) -> float:
    """The least UA in percent.

    Raises:
        UsageError: it is not of the form ``UA>=99``, or no percentage.
    """
    found = re.fullmatch(r"UA>=(\d{1,3}(?:\.\d+)?)%?", "".join(text.split()), re.IGNORECASE)
    if found is None or float(found[1]) > 100:
        raise UsageError(
            f"until {text!r} is no condition that training could reach",
            'write "UA>=99": the share of pictures, in percent, that no longer show the concept',
        )
    return float(found[1])


def end_rule(
    until: str | None,
    every: int,
    probe: Probe | None,
    log: Path,
    reporter: Reporter,
    is_warm: bool = False,
) -> Callable[[int], bool]:
    """Whether training may end, asked with the number of steps done before each step.

    Args:
        until: the condition; None never ends.
        every: steps between probes.
        probe: measures; needed where there is a condition.
        log: gets a row for each probe; a resumed run finds there what was measured before.
        reporter: told of each measurement.
        is_warm: whether it may end before the first step.

    Raises:
        UsageError: nothing can measure.
    """
    if until is None:
        return lambda steps: False
    if probe is None:
        raise UsageError(f"nothing can measure {until}", _NO_PROBE_HINT)
    least = parse_until(until)

    def is_reached(steps: int) -> bool:
        if (steps == 0 and not is_warm) or steps % every:
            return False
        known = _known(log, steps)
        if known is not None:
            return known
        began = time.perf_counter()
        probed = probe(least)
        seconds = time.perf_counter() - began
        append_jsonl(
            log,
            {
                "step": steps,
                "probe": until,
                "ua": round(probed.ua, 2),
                "pictures": probed.pictures,
                "is_reached": probed.is_reached,
                "seconds": round(seconds, 4),
            },
        )
        reporter.notice(
            f"after step {steps}: UA {probed.ua:.0f} % on {probed.pictures} pictures, "
            f"{seconds:.1f} s"
        )
        return probed.is_reached

    return is_reached


def _known(log: Path, steps: int) -> bool | None:
    """What a probe measured there before; None where there was none."""
    rows = read_jsonl(log) if log.exists() else []
    found = [row["is_reached"] for row in rows if row["step"] == steps and "probe" in row]
    return bool(found[-1]) if found else None
