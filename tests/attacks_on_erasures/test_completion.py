"""The attack ``completion`` finds what the base can do, and nothing in noise."""

from pathlib import Path

from tests.attacks_on_erasures.targets import attack, make_noise, target_of


def test_it_succeeds_against_the_base_itself(tmp_path: Path) -> None:
    attempts = attack("completion", target_of(tmp_path), {})
    assert [attempt.found for attempt in attempts] == [True]
    assert all(attempt.picture is not None for attempt in attempts)


def test_it_finds_nothing_in_pure_noise(tmp_path: Path) -> None:
    target = target_of(tmp_path)
    make_noise(target.model)
    assert not any(attempt.found for attempt in attack("completion", target, {}))


def test_a_start_that_shows_the_concept_is_noised_further(tmp_path: Path) -> None:
    (attempt,) = attack("completion", target_of(tmp_path), {"timestep": 1})
    assert int(attempt.what.rpartition(" ")[2]) > 1
