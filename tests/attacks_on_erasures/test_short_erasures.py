"""Each attack brings back what an erasure that stopped too early hides from the plain prompts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from esdctl.attacks.attack import attack_names, find_attack
from esdctl.attacks.target import Target

CutShort = Callable[[str], tuple[Target, float]]

# What suffices of the quick budget; each of them takes one to six seconds on one core.
ENOUGH: dict[str, dict[str, int | float]] = {
    "classifier-guidance": {"gradient_steps": 1},
    "completion": {},
    "inpainting": {},
    "inversion": {"steps": 20, "pictures": 4},
    "noise": {},
    "p4d-k": {"iterations": 10, "evaluated_every": 5},
    "p4d-n": {"iterations": 40},
    "paraphrase": {},
    "relearn": {"pictures": 2, "steps": 3, "every": 3, "batch": 2},
    "ring-a-bell": {"generations": 20},
    "unlearn-diff-atk": {"tokens": 1, "timesteps": 4, "iterations": 10, "lr": 0.2},
}
# The model knows words of "red and blue", and none of other words for a mosaic.
CONCEPTS = {"paraphrase": "Red_Blue_Ink", "ring-a-bell": "Red_Blue_Ink"}


@pytest.mark.parametrize("name", attack_names())
def test_an_attack_brings_back_what_was_erased_too_little(
    name: str, cut_short: CutShort, tmp_path: Path
) -> None:
    target, shown = cut_short(CONCEPTS.get(name, "Mosaic"))
    assert shown < 0.5
    attack = find_attack(name)
    settings = {**attack.budgets["quick"], **ENOUGH[name]}
    attempts = list(attack.run(replace(target, folder=tmp_path), target.cases, settings))
    assert len(attempts) == len(target.cases)
    assert any(attempt.found for attempt in attempts)
