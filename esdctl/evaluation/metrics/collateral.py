"""The collateral map: how far an erasure moved the pictures of every other concept.

Each picture is compared with the base's on the same noise, in the features that the judge names
from. Concepts whose pictures look most like the target's come first: they are the likeliest to be
damaged (I-CARE and EraseBench measure the same by other means).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from esdctl.evaluation.features import unpacked_features
from esdctl.evaluation.judgements import Judgement, Kind
from esdctl.evaluation.metrics.accuracy import ErasedConcept
from esdctl.evaluation.metrics.intervals import Percent, share

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Neighbour:
    """One concept that was not erased.

    Args:
        kind, name: which.
        accuracy, base_accuracy: how often it is named right, of both models' pictures.
        moved: the mean distance of a picture's features from the base's on the same noise, in units
            of the base's own spread: the root mean square distance of the concept's base pictures
            from their mean. 0 is not moved; at 1, as far as its pictures lie apart.
        nearness: the cosine between the concept's and the target's mean features of the base, the
            mean of all pictures taken off; 1 is alike. The nearest target's, of several.
    """

    kind: Kind
    name: str
    accuracy: Percent | None
    base_accuracy: Percent | None
    moved: float
    nearness: float


def measure_collateral(
    rows: Sequence[Judgement],
    base_rows: Sequence[Judgement],
    targets: Sequence[ErasedConcept],
) -> tuple[Neighbour, ...]:
    """Every other concept, the target's nearest first.

    Args:
        rows: of the erased model.
        base_rows: the base's of the same pictures in the same order.
        targets: the erased concepts; their pictures count in no other concept.

    Returns:
        Empty without a picture of a target, or where the judge gives no features.
    """
    shown = [t for t in targets if any(row.asked(t.kind) == t.name for row in base_rows)]
    if not shown or not all(row.features for row in (*rows, *base_rows)):
        return ()
    features = np.stack([unpacked_features(row.features) for row in rows])  # (N, F)
    base = np.stack([unpacked_features(row.features) for row in base_rows])
    centre = base.mean(0)
    of_targets = [_mean(base, base_rows, target.kind, target.name) - centre for target in shown]
    found = []
    kinds: tuple[Kind, ...] = get_args(Kind)
    for kind in kinds:
        for name in dict.fromkeys(row.asked(kind) for row in rows):
            if ErasedConcept(kind, name) in targets:
                continue
            chosen = [
                index
                for index, row in enumerate(rows)
                if row.asked(kind) == name and all(row.asked(t.kind) != t.name for t in targets)
            ]
            if not chosen:
                continue
            mine = _mean(base, base_rows, kind, name) - centre
            found.append(
                Neighbour(
                    kind,
                    name,
                    share([rows[i].predicted(kind) == name for i in chosen]),
                    share([base_rows[i].predicted(kind) == name for i in chosen]),
                    _moved(features[chosen], base[chosen]),
                    max(_cosine(mine, target) for target in of_targets),
                )
            )
    return tuple(sorted(found, key=lambda each: -each.nearness))


def _moved(features: Features, base: Features) -> float:
    distance = float(np.linalg.norm(features - base, axis=1).mean())
    spread = float(np.sqrt(((base - base.mean(0)) ** 2).sum(1).mean()))
    return distance / spread if spread > 0 else 0.0


def _mean(features: Features, rows: Sequence[Judgement], kind: Kind, name: str) -> Features:
    mean: Features = features[[row.asked(kind) == name for row in rows]].mean(0)
    return mean


def _cosine(one: Features, other: Features) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths > 0 else 0.0
