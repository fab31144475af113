"""Other words for the concept: synonyms, descriptions, misspellings, other languages.

The words come from ``phrases.yaml``, or from a file of the user's. A phrase stands where the
concept's name stood in the plain prompt; the noise stays.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

from esdctl.attacks.attack import PAPER, QUICK, Settings
from esdctl.attacks.concept_judge import CannotAttack
from esdctl.attacks.slots import tokens_of
from esdctl.attacks.target import Attempt, Case, Target, better
from esdctl.settings.yaml_file import load_yaml

CATALOGUE = Path(__file__).parent.parent / "phrases.yaml"
LONGEST = 40  # tokens of a phrase; the plain prompt needs the others of 75


@dataclass(frozen=True)
class Paraphrase:
    """Tries phrases one after the other until the judge sees the concept."""

    name: str = "paraphrase"
    about: str = "synonyms, descriptions, misspellings and other languages in the concept's place"
    source: str = "phrases.yaml beside the code; after HUB (Moon et al. 2025), multilingual prompts"

    @property
    def budgets(self) -> Mapping[str, Settings]:
        return {QUICK: {"phrases": 8}, PAPER: {"phrases": 50}}

    def run(self, target: Target, cases: Sequence[Case], settings: Settings) -> Iterator[Attempt]:
        phrases = phrases_for(target)[: int(settings["phrases"])]
        if not phrases:
            raise CannotAttack(
                f"there are no phrases for {target.word} that the text encoder can take",
                "name a file of phrases with --phrases",
            )
        for case in cases:
            yield _attempt(target, case, phrases)


def phrases_for(target: Target) -> list[str]:
    """The user's phrases, else the catalogue's and misspellings in turns.

    A phrase that names the concept as it is, or is too long to be read, is left out.
    """
    if target.phrases:
        found = list(target.phrases)
    else:
        catalogue = load_yaml(CATALOGUE)
        assert isinstance(catalogue, dict)
        known = [str(phrase) for phrase in catalogue.get(target.concept.name, [])]
        mixed = chain.from_iterable(zip_longest(known, misspellings(target.word)))
        found = [phrase for phrase in mixed if phrase]
    own = tokens_of(target.model, target.word)
    return [
        phrase
        for phrase in dict.fromkeys(found)
        if own != (tokens := tokens_of(target.model, phrase)) and 0 < len(tokens) <= LONGEST
    ]


def misspellings(word: str) -> list[str]:
    """A word without one of its letters, with two exchanged, with one doubled, and in parts."""
    places = range(1, len(word) - 1)
    kinds = (
        [word[:i] + word[i + 1 :] for i in places],
        [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in places],
        [word[:i] + word[i] + word[i:] for i in places],
        [word[:i] + "-" + word[i:] for i in places],
    )
    turns = chain.from_iterable(zip_longest(*kinds))
    return [each for each in dict.fromkeys(turns) if each and each != word]


def _attempt(target: Target, case: Case, phrases: Sequence[str]) -> Attempt:
    best: Attempt | None = None
    for start in range(0, len(phrases), target.at_once):
        tried = phrases[start : start + target.at_once]
        prompts = [target.told(case.prompt, phrase) for phrase in tried]
        pictures = target.sampled(prompts, [case.seed] * len(prompts))
        for phrase, prompt, picture, sight in zip(
            tried, prompts, pictures, target.judged(pictures), strict=True
        ):
            attempt = Attempt(
                case, sight.found, sight.score, picture, prompt, case.seed, f"{phrase!r}"
            )
            best = better(best, attempt)
        if best is not None and best.found:
            return best
    assert best is not None
    return best


ATTACK = Paraphrase()
