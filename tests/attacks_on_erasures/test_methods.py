"""Each attack finds the concept in a model that has it, and nothing in one that draws nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from esdctl.attacks.attack import PAPER, QUICK, attack_names, find_attack
from esdctl.attacks.methods.paraphrase import misspellings
from esdctl.attacks.target import Target

Targets = Callable[..., Target]

SMALL: dict[str, dict[str, int | float]] = {
    "noise": {"seeds": 2},
    "paraphrase": {"phrases": 1},
    "inversion": {"steps": 8, "lr": 0.01, "batch_size": 2, "pictures": 2, "tokens": 1},
    "unlearn-diff-atk": {"tokens": 1, "timesteps": 1, "iterations": 2, "lr": 0.01},
    "p4d-n": {"tokens": 16, "iterations": 10, "lr": 0.1, "evaluated_every": 5},
    "p4d-k": {"every": 4, "iterations": 4, "lr": 0.1, "evaluated_every": 2},
}


CONCEPTS = {"paraphrase": "Red_Blue_Ink"}  # the model knows words of "red and blue"


@pytest.mark.parametrize("name", sorted(SMALL))
def test_an_attack_finds_what_is_there(name: str, target: Targets) -> None:
    of_base = target(name, None, CONCEPTS.get(name, "Mosaic"))
    attempts = list(find_attack(name).run(of_base, of_base.cases, SMALL[name]))
    assert sorted(attempt.case.index for attempt in attempts) == [0, 1]
    assert any(attempt.found for attempt in attempts)
    for attempt in attempts:
        assert attempt.what


@pytest.mark.parametrize("name", sorted(SMALL))
def test_an_attack_fails_where_nothing_is_drawn(name: str, target: Targets, stirred: Path) -> None:
    of_noise = target(name, stirred)
    attempts = list(find_attack(name).run(of_noise, of_noise.cases, SMALL[name]))
    assert [attempt.found for attempt in attempts] == [False, False]


def test_every_attack_says_its_source_and_both_budgets() -> None:
    for name in attack_names():
        attack = find_attack(name.upper())
        assert attack.name == name
        assert attack.about
        assert attack.source
        assert attack.budgets[QUICK].keys() == attack.budgets[PAPER].keys()


def test_misspellings_are_other_words_of_nearly_the_same_letters() -> None:
    wrong = misspellings("Mosaic")
    assert "Mosaic" not in wrong
    assert {"Msaic", "Msoaic", "Moosaic"} <= set(wrong)


def test_parts_that_one_attack_loads_serve_the_next(target: Targets) -> None:
    of_base = target("completion", None)
    assert list(find_attack("completion").run(of_base, of_base.cases[:1], {"timestep": 500}))
    (found,) = find_attack("inversion").run(of_base, of_base.cases[:1], SMALL["inversion"])
    assert found.what == "1 token of 8 steps"
