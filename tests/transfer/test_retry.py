"""When to try again, and when to give up."""

import threading
import time
from datetime import UTC, datetime

import pytest

from esdctl.errors import NetworkError
from esdctl.transfer.retry import (
    RateLimit,
    RetryBudget,
    Stopped,
    Transient,
    Unreachable,
    parse_retry_after,
)

FAULT = Transient("http://storage.test/blob", "status 503")


def budget(retries: int, first_wait: float = 0.001, seed: int = 0) -> RetryBudget:
    return RetryBudget(retries, first_wait, seed, threading.Event())


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("Wed, 21 Oct 2026 07:28:10 GMT", 10.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_in_both_forms(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds


def test_the_budget_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = budget(3)
    for _ in range(3):
        spent.spend(FAULT, time.monotonic())
    with pytest.raises(NetworkError, match=r"storage\.test/blob: status 503 \(4 attempts\)"):
        spent.spend(FAULT, time.monotonic())


def test_connections_that_fail_together_count_once() -> None:
    one, began = budget(1), time.monotonic()
    for _ in range(8):
        one.spend(FAULT, began)
    with pytest.raises(NetworkError):
        one.spend(FAULT, time.monotonic())


def test_progress_gives_a_retry_back() -> None:
    one = budget(1)
    for _ in range(5):
        one.spend(FAULT, time.monotonic())
        one.made_progress()
    with pytest.raises(NetworkError):
        for _ in range(2):
            one.spend(FAULT, time.monotonic())


class Recording(threading.Event):
    """An event whose waits are noted and over at once."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return False


def test_waits_grow_and_are_jittered_by_the_seed() -> None:
    def waits(seed: int) -> list[float]:
        stop = Recording()
        patient = RetryBudget(3, 1.0, seed, stop)
        for _ in range(3):
            patient.spend(FAULT, time.monotonic())
        return stop.waits

    first, second, third = waits(0)
    assert 0.5 <= first <= 1.0 <= second <= 2.0 <= third <= 4.0
    assert waits(0) == [first, second, third]
    assert waits(1) != [first, second, third]


def test_all_connections_wait_for_a_retry_after() -> None:
    shared = budget(3)
    shared.spend(Transient("a", "status 429", retry_after=0.2), time.monotonic())
    began = time.monotonic()
    shared.pace()
    assert time.monotonic() - began < 0.1  # the wait is over already
    thread = threading.Thread(
        target=shared.spend, args=(Transient("a", "status 429", 0.3), time.monotonic())
    )
    thread.start()
    time.sleep(0.05)
    began = time.monotonic()
    shared.pace()
    assert 0.15 < time.monotonic() - began < 0.4
    thread.join()


def test_a_wait_of_hours_is_told_at_once() -> None:
    with pytest.raises(NetworkError, match="asks to wait 7200 s"):
        budget(3).spend(Transient("a", "status 429", retry_after=7200), time.monotonic())


def test_each_wait_is_told_but_not_by_every_connection() -> None:
    told: list[str] = []
    talking = RetryBudget(9, 0.001, 0, threading.Event(), told.append)
    for _ in range(5):
        talking.spend(FAULT, time.monotonic())
    assert told == [
        "http://storage.test/blob: status 503; trying again at once (retry 1 of 9)",
    ]


def test_a_wait_that_the_server_asks_for_is_told_with_the_longest() -> None:
    told: list[str] = []
    stop = threading.Event()
    asked = RetryBudget(9, 0.001, 0, stop, told.append)
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(Stopped):
        asked.spend(Transient("a", "status 429", retry_after=300), time.monotonic())
    assert told == [
        "a: status 429; the server asks to wait 300 s, of 600 at most; "
        "trying again in 300 s (retry 1 of 9)"
    ]


def test_a_server_that_never_answered_is_given_up_soon() -> None:
    lost = budget(8)
    with pytest.raises(NetworkError, match=r"\(3 attempts\)"):
        for _ in range(3):
            lost.spend(Unreachable("a", "no such host"), time.monotonic())
    patient = budget(8)
    patient.reached()
    for _ in range(8):
        patient.spend(Unreachable("a", "no such host"), time.monotonic())


def test_a_wait_ends_when_the_transfer_does() -> None:
    stop = threading.Event()
    waiting = RetryBudget(3, 20.0, 0, stop)
    threading.Timer(0.05, stop.set).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        waiting.spend(FAULT, began)
    assert time.monotonic() - began < 5


def test_the_rate_is_kept_over_all_connections() -> None:
    limit = RateLimit(1_000_000, threading.Event())
    began = time.monotonic()
    threads = [threading.Thread(target=lambda: limit.take(50_000)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.35 < time.monotonic() - began < 0.8
