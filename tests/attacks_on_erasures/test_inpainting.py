"""The attack ``inpainting`` finds what the base can do, and nothing in noise."""

from pathlib import Path

from tests.attacks_on_erasures.targets import attack, make_noise, target_of


def test_it_succeeds_against_the_base_itself(tmp_path: Path) -> None:
    attempts = attack("inpainting", target_of(tmp_path, n=2), {})
    assert all(attempt.found for attempt in attempts)
    assert all(attempt.picture is not None for attempt in attempts)


def test_the_filled_part_shows_the_concept_without_the_kept_one(tmp_path: Path) -> None:
    target = target_of(tmp_path, n=3)
    for attempt in attack("inpainting", target, {}):
        assert attempt.picture is not None
        share = float(attempt.what.partition("%")[0]) / 100
        picture = attempt.picture.copy()
        picture[:, : round(share * target.side)] = 128
        (sight,) = target.judged([picture])
        assert sight.found or not attempt.found


def test_it_finds_nothing_in_pure_noise(tmp_path: Path) -> None:
    target = target_of(tmp_path)
    make_noise(target.model)
    assert not any(attempt.found for attempt in attack("inpainting", target, {}))


def test_the_kept_part_alone_does_not_show_the_concept(tmp_path: Path) -> None:
    target = target_of(tmp_path)
    alone = []
    for attempt in attack("inpainting", target, {}):
        assert attempt.picture is not None
        share = float(attempt.what.partition("%")[0]) / 100
        picture = attempt.picture.copy()
        picture[:, round(share * target.side) :] = 128
        alone.append(picture)
    assert not any(sight.found for sight in target.judged(alone))
