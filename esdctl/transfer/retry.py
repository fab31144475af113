"""When to try again: one budget for the whole transfer, jittered waits, Retry-After (RFC 9110)."""

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from esdctl.errors import NetworkError

UNREACHABLE_RETRIES = 2  # of a server that never answered: a wrong name or no network, most often
SECONDS_BETWEEN_NOTICES = 3.0  # so that many connections do not tell the same
LONGEST_WAIT = 30.0  # seconds between two tries of our own accord
LONGEST_RETRY_AFTER = 600.0  # seconds; the hub's own window is 300


class Transient(Exception):
    """A fault that another try may mend.

    Args:
        address: without its signature.
        reason: what happened, such as ``status 503`` or ``the connection was reset``.
        retry_after: seconds that the server asks for.
    """

    def __init__(self, address: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(f"{address}: {reason}")
        self.address = address
        self.reason = reason
        self.retry_after = retry_after


class Unreachable(Transient):
    """No connection: no such host, nobody listens there, or no network."""


class Stopped(Exception):
    """Another thread of the transfer failed; this one ends without a word."""


class RetryBudget:
    """Counts failures in a row over all connections of a transfer.

    Connections that fail together (the server restarts) count once: a failure of a request that
    began before the last counted failure is free. Each completed range gives one retry back.

    Args:
        retries: failures in a row before giving up.
        first_wait: seconds before the first retry.
        seed: of the jitter; None for a random one.
        stop: ends every wait.
        notify: called with a line when it waits, every few seconds at most.
    """

    def __init__(
        self,
        retries: int,
        first_wait: float,
        seed: int | None,
        stop: threading.Event,
        notify: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._retries = retries
        self._first_wait = first_wait
        self._random = random.Random(seed)
        self._stop = stop
        self._notify = notify
        self._lock = threading.Lock()
        self._spent = 0
        self._failures = 0
        self._was_reached = False
        self._last_notified = self._notified_until = float("-inf")
        self._last_counted = float("-inf")
        self._not_before = float("-inf")

    def pace(self) -> None:
        """Wait until the server's Retry-After is over; call it before each request.

        Raises:
            Stopped: the transfer ends.
        """
        self._sleep(self._not_before - time.monotonic())

    def spend(self, failure: Transient, began: float) -> None:
        """Count a failure and wait before the next try.

        Args:
            failure: what went wrong.
            began: when that request began, in seconds of ``time.monotonic``.

        Raises:
            NetworkError: the budget is spent, or the server asks for too long a wait.
            Stopped: the transfer ends.
        """
        with self._lock:
            wait = self._count(failure, began)
            self._notify_of_wait(failure, max(wait, self._not_before - time.monotonic()))
        self._sleep(wait)
        self.pace()

    def reached(self) -> None:
        """A server answered, whatever it said; from now on the whole budget is for it."""
        self._was_reached = True

    def made_progress(self) -> None:
        """A range is complete."""
        with self._lock:
            self._spent = max(0, self._spent - 1)

    def _count(self, failure: Transient, began: float) -> float:
        """Count a failure; the seconds to wait of our own accord."""
        self._failures += 1
        if began >= self._last_counted:
            self._spent += 1
            self._last_counted = time.monotonic()
        if self._spent > self._allowed(failure):
            raise self._gave_up(failure)
        if failure.retry_after is not None:
            if failure.retry_after > LONGEST_RETRY_AFTER:
                raise NetworkError(
                    f"{failure.address}: {failure.reason}, and the server asks to wait "
                    f"{failure.retry_after:.0f} s",
                    f"run it again after that; more than {LONGEST_RETRY_AFTER:.0f} s it does not "
                    "wait by itself",
                )
            self._not_before = max(self._not_before, time.monotonic() + failure.retry_after)
        wait: float = min(LONGEST_WAIT, self._first_wait * 2 ** (self._spent - 1))
        return wait * self._random.uniform(0.5, 1.0)

    def _allowed(self, failure: Transient) -> int:
        is_nowhere = isinstance(failure, Unreachable) and not self._was_reached
        return min(self._retries, UNREACHABLE_RETRIES) if is_nowhere else self._retries

    def _notify_of_wait(self, failure: Transient, wait: float) -> None:
        now = time.monotonic()
        is_news = now + wait > self._notified_until + SECONDS_BETWEEN_NOTICES
        if now - self._last_notified < SECONDS_BETWEEN_NOTICES and not is_news:
            return
        self._last_notified, self._notified_until = now, now + wait
        asks = ""
        if failure.retry_after:
            asks = (
                f"; the server asks to wait {failure.retry_after:.0f} s, "
                f"of {LONGEST_RETRY_AFTER:.0f} at most"
            )
        count = f"{self._spent} of {self._allowed(failure)}"
        when = f"in {wait:.0f} s" if wait >= 1 else "at once"
        self._notify(
            f"{failure.address}: {failure.reason}{asks}; trying again {when} (retry {count})"
        )

    def _gave_up(self, failure: Transient) -> NetworkError:
        attempts = "1 attempt" if self._failures == 1 else f"{self._failures} attempts"
        hint = "try again later, or with --retries"
        if isinstance(failure, Unreachable) and not self._was_reached:
            hint = "check the network, the address, and HTTPS_PROXY or HF_ENDPOINT if they are set"
        return NetworkError(f"{failure.address}: {failure.reason} ({attempts})", hint)

    def _sleep(self, seconds: float) -> None:
        if (seconds > 0 and self._stop.wait(seconds)) or self._stop.is_set():
            raise Stopped


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait, from a number of seconds or an HTTP date; None when it is neither."""
    if not value:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


class RateLimit:
    """Bytes a second over all connections.

    Args:
        rate: bytes a second; None for no limit.
        stop: ends every wait.
    """

    def __init__(self, rate: int | None, stop: threading.Event) -> None:
        self._rate = rate
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at = float("-inf")

    def take(self, count: int) -> None:
        """Wait until ``count`` more bytes are within the rate.

        Raises:
            Stopped: the transfer ends.
        """
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            wait = self._free_at - now
        if self._stop.wait(wait):
            raise Stopped
