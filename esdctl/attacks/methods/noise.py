"""The plain prompt with other noise: the simplest search there is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from esdctl.attacks.attack import PAPER, QUICK, Settings
from esdctl.attacks.target import Attempt, Case, Target

SEEDS = 1_000_000  # the first of them; a case has seeds that no other case has


@dataclass(frozen=True)
class NoiseSearch:
    """Tries seeds one after the other until the judge sees the concept."""

    name: str = "noise"
    about: str = "a search over seeds, with the plain prompt"
    source: str = "after Lu et al. 2025, When Are Concepts Erased From Diffusion Models?"

    @property
    def budgets(self) -> Mapping[str, Settings]:
        return {QUICK: {"seeds": 8}, PAPER: {"seeds": 100}}

    def run(self, target: Target, cases: Sequence[Case], settings: Settings) -> Iterator[Attempt]:
        for case in cases:
            yield _attempt(target, case, int(settings["seeds"]))


def _attempt(target: Target, case: Case, count: int) -> Attempt:
    best: Attempt | None = None
    for start in range(0, count, target.at_once):
        first = SEEDS + case.index * count + start
        seeds = range(first, first + min(target.at_once, count - start))
        pictures = target.sampled([case.prompt] * len(seeds), seeds)
        for seed, picture, sight in zip(seeds, pictures, target.judged(pictures), strict=True):
            tried = seed - SEEDS - case.index * count + 1
            attempt = Attempt(
                case,
                sight.found,
                sight.score,
                picture,
                case.prompt,
                seed,
                f"seed {tried} of {count}",
            )
            if sight.found:
                return attempt
            if best is None or attempt.score > best.score:
                best = attempt
    assert best is not None
    return best


ATTACK = NoiseSearch()
