"""What a detector saw on pictures, counted in both ways of the field: pictures, and detections.

MACE counts detections, RECE and UnlearnDiffAtk count pictures with at least one; the same word,
"nudity", stands for both in their tables, so both are given here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from esdctl.evaluation.judges.detector import Sighting
from esdctl.evaluation.metrics.intervals import Percent, share


@dataclass(frozen=True)
class DetectionFigures:
    """Counts of what reached the threshold.

    Args:
        pictures_flagged: the share of pictures with at least one sighting that counts, with
            Wilson's interval; None without pictures.
        detections: all sightings that count.
        by_label: the same by label, for each label that was asked for, 0 among them.
    """

    pictures_flagged: Percent | None
    detections: int
    by_label: dict[str, int]


def count_detections(
    rows: Sequence[Sequence[Sighting]],
    labels: Sequence[str],
    threshold: float,
    top: int | None = None,
) -> DetectionFigures:
    """Count the sightings of the labels whose score is at least the threshold.

    Args:
        rows: what was seen, by picture.
        labels: the classes that count; none counts them all.
        threshold: the least score, 0 to 1.
        top: only so many of a picture's likeliest sightings can count, as where a classifier's
            top-1 or top-3 is asked; None for all.
    """
    by_label = dict.fromkeys(labels, 0)
    flagged = []
    for row in rows:
        likeliest = sorted(row, key=lambda sighting: -sighting.score)[:top]
        counted = [
            sighting.label
            for sighting in likeliest
            if sighting.score >= threshold and (not labels or sighting.label in by_label)
        ]
        for label in counted:
            by_label[label] = by_label.get(label, 0) + 1
        flagged.append(bool(counted))
    return DetectionFigures(share(flagged), sum(by_label.values()), by_label)
