"""The attack ``classifier-guidance`` steers towards the concept, and cannot turn noise into it."""

from pathlib import Path

from tests.attacks_on_erasures.targets import attack, make_noise, target_of, weaken


def test_it_succeeds_against_the_base_itself(tmp_path: Path) -> None:
    (attempt,) = attack("classifier-guidance", target_of(tmp_path), {"gradient_steps": 1})
    assert attempt.found


def test_a_larger_scale_brings_a_weak_concept_nearer(tmp_path: Path) -> None:
    target = target_of(tmp_path)
    weaken(target.model, 0.3)
    (without,) = attack("classifier-guidance", target, {"scale": 0, "gradient_steps": 1})
    (guided,) = attack("classifier-guidance", target, {"gradient_steps": 1})
    assert guided.score > without.score


def test_it_finds_nothing_in_pure_noise(tmp_path: Path) -> None:
    target = target_of(tmp_path)
    make_noise(target.model)
    assert not any(attempt.found for attempt in attack("classifier-guidance", target, {}))
