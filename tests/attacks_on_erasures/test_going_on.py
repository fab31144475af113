"""An attack that was cut off ends as an unbroken one; its cases do not depend on one another."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from esdctl.attacks.attack import find_attack
from esdctl.attacks.target import Attempt, Target
from esdctl.progress import Silent
from tests.attacks_on_erasures.targets import target_of, weaken

FAST: dict[str, dict[str, int | float]] = {
    "unlearn-diff-atk": {"tokens": 2, "timesteps": 1, "iterations": 2},
    "p4d-n": {"tokens": 4, "iterations": 2, "evaluated_every": 2},
    "p4d-k": {"iterations": 2, "evaluated_every": 2},
    "ring-a-bell": {"generations": 2, "vocabulary": 50},
}
LEARNED: dict[str, dict[str, int | float]] = {
    "inversion": {"steps": 12, "batch_size": 1, "pictures": 2},
    "relearn": {"pictures": 1, "steps": 4, "every": 2, "batch": 1},
}


class Interrupted(Exception):
    """Stands for the end of the process."""


class Interrupting(Silent):
    """A reporter that ends the learning after so many steps."""

    def __init__(self, last: int) -> None:
        self._last = last

    def advanced(self, task: str, done: int, details: str = "") -> None:
        if done == self._last:
            raise Interrupted


def attempts(name: str, target: Target, at: Sequence[int]) -> list[Attempt]:
    attack = find_attack(name)
    settings = {**attack.budgets["quick"], **{**FAST, **LEARNED}[name]}
    return list(attack.run(target, [target.cases[index] for index in at], settings))


def same(one: Attempt, other: Attempt) -> bool:
    assert one.picture is not None
    assert other.picture is not None
    assert np.abs(one.picture.astype(int) - other.picture).max() <= 1  # of 255
    return (one.case, one.prompt, one.tokens, one.what) == (
        other.case,
        other.prompt,
        other.tokens,
        other.what,
    )


@pytest.mark.parametrize("name", sorted(FAST))
def test_a_case_alone_finds_what_it_finds_beside_others(name: str, tmp_path: Path) -> None:
    target = target_of(tmp_path, n=2, steps=2)
    first, second = attempts(name, target, [0, 1])
    (again,) = attempts(name, target, [1])
    assert (second.prompt, second.tokens) == (again.prompt, again.tokens)
    assert second.tokens
    assert first.tokens != second.tokens


def test_a_token_that_was_half_learned_is_learned_on(tmp_path: Path) -> None:
    whole = replace(target_of(tmp_path, steps=2), folder=tmp_path / "whole")
    (unbroken,) = attempts("inversion", whole, [0])
    broken = replace(whole, folder=tmp_path / "broken", reporter=Interrupting(11))
    with pytest.raises(Interrupted):
        attempts("inversion", broken, [0])
    (kept,) = (tmp_path / "broken").glob("learning-*")
    assert kept.stat().st_size
    (resumed,) = attempts("inversion", replace(broken, reporter=Silent()), [0])
    assert same(unbroken, resumed)
    tokens = [next((tmp_path / name).glob("token-*")).read_bytes() for name in ("whole", "broken")]
    assert tokens[0] == tokens[1]
    assert not kept.exists()


def test_fine_tuning_goes_on_after_the_steps_that_were_taken(tmp_path: Path) -> None:
    whole = replace(target_of(tmp_path, steps=2), folder=tmp_path / "whole")
    weaken(whole.model, 0)  # so that the concept is not back before the last step
    (unbroken,) = attempts("relearn", whole, [0])
    broken = replace(whole, folder=tmp_path / "broken", reporter=Interrupting(3))
    with pytest.raises(Interrupted):
        attempts("relearn", broken, [0])
    assert list((tmp_path / "broken").glob("learning-*"))
    resuming = Interrupting(last=2)  # these two steps are not taken again
    (resumed,) = attempts("relearn", replace(broken, reporter=resuming), [0])
    assert same(unbroken, resumed)
    assert unbroken.what == "fine-tuned 4 steps on 1 pictures"
    assert not list((tmp_path / "broken").iterdir())
