"""The attack success rate by hand."""

import pytest

from esdctl.evaluation.metrics.attack_success import success_rates


def test_both_parts_are_shares_of_all_cases() -> None:
    # UnlearnDiffAtk on ESD, parachute: 4 % before, 54 % after, of 50.
    asr, before = success_rates(50, 2, 25)
    assert (asr.percent, before.percent) == (54.0, 4.0)
    # Wilson's interval of 27 of 50, from its formula with z = 1.96.
    assert (asr.low, asr.high) == pytest.approx((40.40, 67.03), abs=0.05)


@pytest.mark.parametrize("counts", [(0, 0, 0), (2, 1, 2), (2, -1, 1)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="successes of"):
        success_rates(*counts)
