"""The model under attack: its cases, how its pictures are made, and who judges them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from esdctl.diffusion.conditioning import Conditioning
from esdctl.evaluation.judges.judge import Classifier, Classify, Network
from esdctl.evaluation.metrics.accuracy import ErasedConcept
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
class Sight:
    """What the judge sees of the concept on one picture.

    Args:
        found: whether the concept is the likeliest of its kind, and likely enough.
        score: its probability.
    """

    found: bool
    score: float


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
        classifier: who judges.
        folder: the attack's own, for what it learns.
        shared: of all attacks on the model, for the base's pictures.
        reporter: told of long work.
        at_once: pictures in a batch.
        phrases: the user's own words for the concept; none for the catalogue's.
        least_score: the judge's probability below which a picture does not count.
    """

    model: StableDiffusion
    base: Callable[[], StableDiffusion]
    concept: ErasedConcept
    cases: Sequence[Case]
    beside: Sequence[str]
    guidance: float
    steps: int
    side: int
    classifier: Classifier
    folder: Path
    shared: Path
    reporter: Reporter
    at_once: int = 8
    phrases: tuple[str, ...] = ()
    least_score: float = 0.0

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def word(self) -> str:
        """The concept as prompts write it."""
        return self.concept.name.replace("_", " ")

    @cached_property
    def _classify(self) -> Classify:
        return self.classifier.load(self.device, self.reporter)

    @cached_property
    def _network(self) -> Network:
        return self.classifier.network(self.device, self.reporter)

    def network(self) -> Network:
        """The judge as a differentiable function of pictures (B, 3, H, W) in 0..1."""
        return self._network

    @property
    def place(self) -> int:
        """Of the concept among the logits of its kind."""
        is_style = self.concept.kind == "style"
        names = self.classifier.styles if is_style else self.classifier.objects
        return list(names).index(self.concept.name)

    def concept_logits(self, pictures: torch.Tensor) -> torch.Tensor:
        """The judge's logits of the concept's kind, (B, N), of pictures (B, 3, H, W) in 0..1."""
        styles, objects = self._network.logits(pictures)
        return styles if self.concept.kind == "style" else objects

    def judged(self, pixels: Sequence[Pixels]) -> list[Sight]:
        """What the judge sees on each picture, (H, W, 3) each."""
        if not pixels:
            return []
        stacked = np.stack(pixels)  # (B, H, W, 3)
        seen = self._classify(stacked)
        with torch.no_grad():
            batch = torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255
            scores = self.concept_logits(batch.to(self.device)).softmax(1)[:, self.place]  # (B,)
        is_style = self.concept.kind == "style"
        names = [verdict.style if is_style else verdict.object for verdict in seen]
        return [
            Sight(name == self.concept.name and score >= self.least_score, score)
            for name, score in zip(names, scores.tolist(), strict=True)
        ]

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
        return self._of_concept([self.beside.index(case.prompt) for case in cases])

    def prompt_of_concept(self, index: int) -> str:
        """The prompt of a picture of ``pictures_of_concept``."""
        return self.beside[index % len(self.beside)]

    def _of_concept(self, indices: Sequence[int]) -> list[Pixels]:
        paths = {index: self._concept_path(index) for index in indices}
        missing = [index for index, path in paths.items() if not path.is_file()]
        if missing:
            prompts = [self.prompt_of_concept(index) for index in missing]
            pictures = self._made(self.base(), prompts, [CONCEPT_SEEDS + i for i in missing])
            for index, pixels in zip(missing, pictures, strict=True):
                save_picture(paths[index], pixels)
        return [read_picture(paths[index]) for index in indices]

    def _concept_path(self, index: int) -> Path:
        made = f"{self.side}px-{self.steps}steps-guidance{self.guidance:g}"
        return self.shared / "concept" / f"{self.concept.name}-{made}-{index:04}.png"

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
