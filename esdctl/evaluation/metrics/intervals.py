"""95 % intervals: Wilson's for a share, Bonett and Price's for two paired shares."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True)
class Percent:
    """A measured percentage.

    Args:
        percent: the estimate.
        low, high: its 95 % interval.
        n: pictures behind it.
    """

    percent: float
    low: float
    high: float
    n: int


def share(hits: Sequence[bool]) -> Percent | None:
    """The share of hits with Wilson's interval (Wilson 1927); None without pictures."""
    n = len(hits)
    if n == 0:
        return None
    low, high = _wilson(sum(hits), n, Z)
    return Percent(100 * sum(hits) / n, 100 * low, 100 * high, n)


def paired_ratio(hits: Sequence[bool], base_hits: Sequence[bool]) -> Percent | None:
    """The share of ``hits`` in percent of that of ``base_hits``, measured on the same pictures.

    The interval is Bonett and Price's hybrid Wilson interval (Statistics in Medicine 25, 2006,
    3039-3047): in closed form, aware of the pairing, and of sensible width where the two agree on
    every picture, where a bootstrap's would be nil. Its coverage is 94 to 98 % for n = 240 and
    shares from 50 to 99 %.

    Args:
        hits, base_hits: of the same pictures in the same order.

    Returns:
        The ratio; None if the base has no hit.
    """
    x, y = sum(hits), sum(base_hits)
    if y == 0:
        return None
    pairs = list(zip(hits, base_hits, strict=True))
    m = sum(hit or base_hit for hit, base_hit in pairs)  # the paper's n*
    discordant = sum(hit != base_hit for hit, base_hit in pairs)
    a = math.sqrt((discordant + 2) / ((x + 1) * (y + 1)))
    b, c = (math.sqrt((1 - (k + 1) / (m + 2)) / (k + 1)) for k in (x, y))
    z = a / (b + c) * Z
    (low, high), (base_low, base_high) = _wilson(x, m, z), _wilson(y, m, z)
    return Percent(100 * x / y, 100 * low / base_high, 100 * high / base_low, len(pairs))


def paired_difference(hits: Sequence[bool], other_hits: Sequence[bool]) -> Percent | None:
    """The share of ``hits`` minus that of ``other_hits``, in percentage points, on equal pictures.

    The interval is Bonett and Price's adjusted Wald interval for paired proportions (Journal of
    Educational and Behavioral Statistics 37, 2012, 479-488): each kind of disagreement gets one
    more, of two more pictures.

    Args:
        hits, other_hits: of the same pictures in the same order.

    Returns:
        The difference, from -100 to 100; None without pictures.
    """
    pairs = list(zip(hits, other_hits, strict=True))
    n = len(pairs)
    if n == 0:
        return None
    gained, lost = (sum(pair == kind for pair in pairs) for kind in ((True, False), (False, True)))
    p_gained, p_lost = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    middle = p_gained - p_lost
    half = Z * math.sqrt((p_gained + p_lost - middle**2) / (n + 2))
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return Percent(100 * (gained - lost) / n, 100 * low, 100 * high, n)


def _wilson(k: int, n: int, z: float) -> tuple[float, float]:
    """Wilson's score interval of k hits in n, n > 0."""
    middle = k + z * z / 2
    half = z * math.sqrt(k * (n - k) / n + z * z / 4)
    low, high = (middle - half) / (n + z * z), (middle + half) / (n + z * z)
    return (0.0 if k == 0 else low), (1.0 if k == n else high)
