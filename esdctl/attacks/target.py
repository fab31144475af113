"""The model under attack: its cases, how its pictures are made, and who judges them."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from esdctl.attacks.concept_judge import ConceptJudge, LogProbability, Look, Sight
from esdctl.diffusion.conditioning import Conditioning
from esdctl.diffusion.schedule import Schedule
from esdctl.evaluation.metrics.accuracy import ErasedConcept
from esdctl.evaluation.metrics.attack_success import Content
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.progress import Reporter
from esdctl.sampling.plan import Picture
from esdctl.sampling.sample import Pixels, sample
from esdctl.storage.atomic import write_with

CONCEPT_SEEDS = 500_000  # of the base's pictures of the concept; cases have others


@dataclass(frozen=True)
class Case:
    """A picture of the concept that the model is asked for.

    Args:
        index: its place among all cases.
        prompt: the plain prompt, such as "A Dogs image in Mosaic style."
        seed: of the initial noise.
    """

    index: int
    prompt: str
    seed: int


@dataclass(frozen=True)
class Attempt:
    """What became of a case under an attack.

    Args:
        case: the case.
        found: whether the judge sees the concept.
        score: the judge's probability of the concept, of the best picture that was made.
        picture: that picture, (H, W, 3), uint8; None where none was made.
        prompt: the words that made it; None where there are none.
        seed: of its noise.
        what: what brought it back, one line: "16 tokens".
        tokens: the numbers of the tokens that a search found, the plain prompt's among them where
            it keeps some; words may be other tokens when they are read again.
    """

    case: Case
    found: bool
    score: float
    picture: Pixels | None
    prompt: str | None
    seed: int
    what: str
    tokens: tuple[int, ...] = ()


@dataclass(frozen=True)
class Target:
    """A model under attack.

    Args:
        model: the model, loaded.
        base: gives what it was erased from, or itself: makes pictures of the concept where an
            attack starts from some.
        concept: what shall come back.
        cases: all of them.
        beside: the plain prompts of the concept, one for each thing that is shown beside it.
        guidance, steps, side: of the pictures that are judged; DDIM.
        judge: says whether a picture shows the concept.
        folder: the attack's own, for what it learns.
        shared: of all attacks on the model, for the base's pictures.
        reporter: told of long work.
        at_once: pictures in a batch.
        phrases: the user's own words for the concept; none for the catalogue's.
        concept_seeds: of the base's pictures of the concept, one for each of ``beside``, where the
            cases are rows of a table in the order of ``beside``; none for seeds of our own.
    """

    model: StableDiffusion
    base: Callable[[], StableDiffusion]
    concept: ErasedConcept | Content
    cases: Sequence[Case]
    beside: Sequence[str]
    guidance: float
    steps: int
    side: int
    judge: ConceptJudge
    folder: Path
    shared: Path
    reporter: Reporter
    at_once: int = 8
    phrases: tuple[str, ...] = ()
    concept_seeds: tuple[int, ...] = ()

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def schedule(self) -> Schedule:
        """The attacked model's process, for pictures of this size."""
        return self.model.schedule_for(self.side, self.side)

    @property
    def word(self) -> str:
        """The concept as prompts write it."""
        return self.concept.name.replace("_", " ")

    @cached_property
    def _look(self) -> Look:
        return self.judge.load(self.device, self.reporter)

    @cached_property
    def log_probability(self) -> LogProbability:
        """The judge as a differentiable function.

        Raises:
            CannotAttack: it has no gradient.
        """
        return self.judge.log_probability(self.device, self.reporter)

    def judged(self, pixels: Sequence[Pixels]) -> list[Sight]:
        """What the judge sees on each picture, (H, W, 3) each."""
        return self._look(np.stack(pixels)) if pixels else []

    def told(self, prompt: str, word: str) -> str:
        """A prompt with another word for the concept, put first where it does not name it."""
        if self.word in prompt:
            return prompt.replace(self.word, word)
        return f"{word}, {prompt}"

    def sampled(self, asked: Sequence[str] | Conditioning, seeds: Sequence[int]) -> list[Pixels]:
        """Pictures by the model under attack.

        Args:
            asked: B prompts, or B rows of what the U-Net is told.
            seeds: of the noise, one a picture.

        Returns:
            B pictures, (H, W, 3), uint8, RGB.
        """
        return self._made(self.model, asked, seeds)

    def pictures_of_concept(self, count: int) -> list[Pixels]:
        """Pictures by the base from plain prompts; made once, and kept for all attacks.

        Args:
            count: how many; more of them begin with the same.

        Returns:
            (H, W, 3) each, of ``side`` pixels, RGB.
        """
        return self._of_concept(range(count))

    def pictures_like(self, cases: Sequence[Case]) -> list[Pixels]:
        """Those of ``pictures_of_concept`` that have the cases' prompts."""
        places = [
            case.index if self.concept_seeds else self.beside.index(case.prompt) for case in cases
        ]
        return self._of_concept(places)

    def prompt_of_concept(self, index: int) -> str:
        """The prompt of a picture of ``pictures_of_concept``."""
        return self.beside[index % len(self.beside)]

    def _of_concept(self, indices: Sequence[int]) -> list[Pixels]:
        paths = {index: self._concept_path(index) for index in indices}
        missing = [index for index, path in paths.items() if not path.is_file()]
        for start in range(0, len(missing), self.at_once):
            few = missing[start : start + self.at_once]
            prompts, seeds = zip(
                *((self.prompt_of_concept(i), self._concept_seed(i)) for i in few), strict=True
            )
            pictures = self._made(self.base(), prompts, seeds)
            for index, pixels in zip(few, pictures, strict=True):
                save_picture(paths[index], pixels)
        return [read_picture(paths[index]) for index in indices]

    def _concept_seed(self, index: int) -> int:
        if not self.concept_seeds:
            return CONCEPT_SEEDS + index
        again, place = divmod(index, len(self.concept_seeds))
        return self.concept_seeds[place] + again * CONCEPT_SEEDS

    def _concept_path(self, index: int) -> Path:
        made = f"{self.side}px-{self.steps}steps-guidance{self.guidance:g}"
        return self.shared / "concept" / f"{self._concept_key}-{made}-{index:04}.png"

    @cached_property
    def _concept_key(self) -> str:
        """Of the concept, and of the rows where the cases are some; fit for a file's name."""
        if not self.concept_seeds:
            return self.concept.name
        rows = json.dumps([self.concept.name, list(self.beside), list(self.concept_seeds)])
        return f"rows-{hashlib.sha256(rows.encode()).hexdigest()[:16]}"

    def _made(
        self, model: StableDiffusion, asked: Sequence[str] | Conditioning, seeds: Sequence[int]
    ) -> list[Pixels]:
        conditions: dict[str, Conditioning] = {}
        if isinstance(asked, Conditioning):
            conditions = {str(index): row for index, row in enumerate(asked)}
            asked = list(conditions)
        pictures = [
            Picture(str(i), prompt, seed, self.guidance, self.steps, self.side, self.side)
            for i, (prompt, seed) in enumerate(zip(asked, seeds, strict=True))
        ]
        batches = sample(model, pictures, self.at_once, conditions)
        return [pixels for batch in batches for _, pixels in batch]


def better(one: Attempt | None, other: Attempt) -> Attempt:
    """The attempt that shows the concept, or shows it more; the first where they are equal."""
    if one is None or (other.found, other.score) > (one.found, one.score):
        return other
    return one


def save_picture(path: Path, pixels: Pixels) -> None:
    """Write a PNG.

    Raises:
        StorageError: the disk is full or not writable.
    """
    image = Image.fromarray(pixels)
    write_with(path, lambda partial: image.save(partial, format="PNG"))


def read_picture(path: Path) -> Pixels:
    """A PNG as (H, W, 3), uint8, RGB."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
