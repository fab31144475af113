"""The intervals are the published ones."""

import pytest

from esdctl.evaluation.metrics.intervals import paired_difference, paired_ratio, share


def hits(k: int, n: int) -> list[bool]:
    return [True] * k + [False] * (n - k)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [  # Newcombe (1998), table I, method 3
        (81, 263, 25.53, 36.62),
        (15, 148, 6.24, 16.05),
        (0, 20, 0.00, 16.11),
        (1, 29, 0.61, 17.18),
    ],
)
def test_a_shares_interval_is_wilsons(k: int, n: int, low: float, high: float) -> None:
    measured = share(hits(k, n))
    assert measured is not None
    assert measured.percent == pytest.approx(100 * k / n)
    assert measured.low == pytest.approx(low, abs=0.006)
    assert measured.high == pytest.approx(high, abs=0.006)
    assert measured.n == n


def test_all_hits_reach_exactly_100() -> None:
    measured = share(hits(20, 20))
    assert measured is not None
    assert (measured.percent, measured.high) == (100.0, 100.0)
    assert measured.low == pytest.approx(83.89, abs=0.006)


def test_no_pictures_have_no_share() -> None:
    assert share([]) is None


def test_a_ratios_interval_is_bonett_and_prices() -> None:
    # The example of R's statpsych::ci.ratio.prop.ps(.05, 12, 4, 26, 6).
    both, mine, theirs, neither = 6, 26, 4, 12
    measured = paired_ratio(
        [True] * (both + mine) + [False] * (theirs + neither),
        [True] * both + [False] * mine + [True] * theirs + [False] * neither,
    )
    assert measured is not None
    assert measured.percent == pytest.approx(320)
    assert measured.low == pytest.approx(176.6544, abs=1e-4)
    assert measured.high == pytest.approx(579.6628, abs=1e-4)
    assert measured.n == 48


def test_models_that_agree_on_every_picture_still_have_an_interval() -> None:
    measured = paired_ratio(hits(50, 60), hits(50, 60))
    assert measured is not None
    assert measured.percent == 100
    assert 95 < measured.low < 100 < measured.high < 105


def test_nothing_is_in_proportion_to_a_base_without_hits() -> None:
    assert paired_ratio(hits(3, 5), hits(0, 5)) is None


def test_a_model_without_hits_keeps_nothing() -> None:
    measured = paired_ratio(hits(0, 20), hits(10, 20))
    assert measured is not None
    assert measured.percent == measured.low == 0
    assert 0 < measured.high < 50


def test_a_paired_difference_is_bonett_and_prices_by_hand() -> None:
    # 10 pictures: 3 gained, 1 lost. (4/12 - 2/12) +- 1.96 sqrt((4/12 + 2/12 - (2/12)^2) / 12).
    hits = [True] * 3 + [False] + [True] * 6
    others = [False] * 3 + [True] + [True] * 6
    found = paired_difference(hits, others)
    assert found is not None
    half = 1.959963984540054 * ((6 / 12 - (2 / 12) ** 2) / 12) ** 0.5
    assert found.percent == pytest.approx(20.0)
    assert (found.low, found.high) == pytest.approx(
        (100 * (2 / 12 - half), 100 * (2 / 12 + half)), abs=1e-9
    )
    assert paired_difference([], []) is None


def test_equal_verdicts_leave_a_difference_of_sensible_width() -> None:
    found = paired_difference([True] * 50, [True] * 50)
    assert found is not None
    assert found.percent == 0.0
    assert -10 < found.low < 0 < found.high < 10
