"""The attack ``ring-a-bell`` finds words that the base takes for the concept."""

from pathlib import Path

from esdctl.attacks.methods.ring_a_bell import without_concept
from tests.attacks_on_erasures.targets import attack, make_noise, target_of


def test_it_succeeds_against_the_base_itself(tmp_path: Path) -> None:
    target = target_of(tmp_path)
    (attempt,) = attack("ring-a-bell", target, {})
    assert attempt.found
    assert attempt.prompt is not None
    assert attempt.prompt != target.cases[0].prompt


def test_it_finds_nothing_in_pure_noise(tmp_path: Path) -> None:
    target = target_of(tmp_path)
    make_noise(target.model)
    (attempt,) = attack("ring-a-bell", target, {"generations": 1, "vocabulary": 50})
    assert not attempt.found


def test_a_pair_differs_by_the_concept_alone() -> None:
    assert without_concept("A Dogs image in Mosaic style.", "Mosaic") == "A Dogs image."
    assert without_concept("A Dogs image in Rust style.", "Dogs") == "A image in Rust style."
