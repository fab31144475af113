"""Who says whether a picture shows the concept: a classifier that names it, or a detector."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from esdctl.errors import UsageError
from esdctl.evaluation.judges.detector import Detector
from esdctl.evaluation.judges.judge import Classifier
from esdctl.evaluation.metrics.accuracy import ErasedConcept
from esdctl.progress import Reporter


class CannotAttack(UsageError):
    """An attack does not fit the model: a family, a judge or a concept that it cannot work with."""


@dataclass(frozen=True)
class Sight:
    """What the judge sees of the concept on one picture.

    Args:
        found: whether it counts as shown.
        score: the judge's probability or score of the concept.
    """

    found: bool
    score: float


# RGB pictures (B, H, W, 3), uint8, of one size.
Look = Callable[[npt.NDArray[np.uint8]], list[Sight]]
# Pictures (B, 3, H, W) in 0..1 to the log-probability of the concept, (B,), differentiably.
LogProbability = Callable[[torch.Tensor], torch.Tensor]


class ConceptJudge(Protocol):
    """A judge that was asked about one concept; its weights are read when it is loaded."""

    @property
    def name(self) -> str: ...

    def digest(self) -> str:
        """Stands for what it sees."""
        ...

    def load(self, device: torch.device, reporter: Reporter) -> Look:
        """Read the weights.

        Raises:
            InputError, IntegrityError: a file is damaged.
        """
        ...

    def log_probability(self, device: torch.device, reporter: Reporter) -> LogProbability:
        """Read the weights as a differentiable function.

        Raises:
            CannotAttack: the judge has no gradient.
            InputError, IntegrityError: a file is damaged.
        """
        ...


@dataclass(frozen=True)
class ByClassifier:
    """A style or object is shown where it is the likeliest name of its kind, and likely enough.

    Args:
        classifier: knows the concept.
        concept: the style or object.
        least_score: the probability below which it does not count.
    """

    classifier: Classifier
    concept: ErasedConcept
    least_score: float = 0.0

    @property
    def name(self) -> str:
        return self.classifier.name

    def digest(self) -> str:
        return self.classifier.digest()

    def load(self, device: torch.device, reporter: Reporter) -> Look:
        classify = self.classifier.load(device, reporter)
        log_p = self.log_probability(device, reporter)
        is_style = self.concept.kind == "style"

        def look(pictures: npt.NDArray[np.uint8]) -> list[Sight]:
            seen = classify(pictures)
            with torch.no_grad():
                batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
                scores = log_p(batch.to(device)).exp()  # (B,)
            names = [verdict.style if is_style else verdict.object for verdict in seen]
            return [
                Sight(name == self.concept.name and score >= self.least_score, score)
                for name, score in zip(names, scores.tolist(), strict=True)
            ]

        return look

    def log_probability(self, device: torch.device, reporter: Reporter) -> LogProbability:
        network = self.classifier.network(device, reporter)
        is_style = self.concept.kind == "style"
        names = self.classifier.styles if is_style else self.classifier.objects
        place = list(names).index(self.concept.name)

        def log_p(pictures: torch.Tensor) -> torch.Tensor:
            styles, objects = network.logits(pictures)
            return (styles if is_style else objects).log_softmax(1)[:, place]

        return log_p


@dataclass(frozen=True)
class ByDetector:
    """Content is shown where a detector sees one of its labels.

    Args:
        detector: the detector.
        labels: what counts; none for all.
        threshold: the score from which a sighting counts.
    """

    detector: Detector
    labels: tuple[str, ...]
    threshold: float

    @property
    def name(self) -> str:
        return self.detector.name

    def digest(self) -> str:
        document = [self.detector.digest(), sorted(self.labels), self.threshold]
        return hashlib.sha256(json.dumps(document).encode()).hexdigest()

    def load(self, device: torch.device, reporter: Reporter) -> Look:
        detect = self.detector.load(device, reporter)

        def look(pictures: npt.NDArray[np.uint8]) -> list[Sight]:
            sights = []
            for sightings in detect(pictures):
                scores = [
                    each.score for each in sightings if not self.labels or each.label in self.labels
                ]
                best = max(scores, default=0.0)
                sights.append(Sight(bool(scores) and best >= self.threshold, best))
            return sights

        return look

    def log_probability(self, device: torch.device, reporter: Reporter) -> LogProbability:
        raise CannotAttack(
            f"the detector {self.name} gives no gradient to follow", "use another attack"
        )
