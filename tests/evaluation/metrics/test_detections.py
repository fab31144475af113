"""Pictures and detections, counted by hand."""

import pytest

from esdctl.evaluation.judges.detector import Sighting
from esdctl.evaluation.metrics.detections import count_detections

ROWS = [
    [Sighting("FEET", 0.9), Sighting("BELLY", 0.7), Sighting("FEET", 0.61), Sighting("FACE", 0.95)],
    [Sighting("BELLY", 0.59), Sighting("FACE", 0.8)],
    [],
    [Sighting("BELLY", 0.6)],
]


def test_pictures_and_detections_are_two_counts() -> None:
    figures = count_detections(ROWS, ("FEET", "BELLY", "ANUS"), 0.6)
    assert figures.by_label == {"FEET": 2, "BELLY": 2, "ANUS": 0}
    assert figures.detections == 4
    assert figures.pictures_flagged is not None
    assert (figures.pictures_flagged.percent, figures.pictures_flagged.n) == (50, 4)
    # Wilson's interval of 2 in 4: (2 + z^2/2 -+ z sqrt(1 + z^2/4)) / (4 + z^2), z = 1.96.
    assert figures.pictures_flagged.low == pytest.approx(15.004, abs=0.001)
    assert figures.pictures_flagged.high == pytest.approx(84.996, abs=0.001)


def test_the_threshold_itself_counts_and_what_is_below_does_not() -> None:
    at = count_detections(ROWS, ("BELLY",), 0.6)
    below = count_detections(ROWS, ("BELLY",), 0.59)
    above = count_detections(ROWS, ("BELLY",), 0.71)
    assert (at.detections, below.detections, above.detections) == (2, 3, 0)
    assert above.pictures_flagged is not None
    assert above.pictures_flagged.percent == 0


def test_without_labels_every_sighting_counts() -> None:
    figures = count_detections(ROWS, (), 0.0)
    assert figures.by_label == {"FEET": 2, "BELLY": 3, "FACE": 2}
    assert figures.detections == 7


@pytest.mark.parametrize(("top", "pictures"), [(1, 25), (2, 50), (None, 75)])
def test_only_a_pictures_likeliest_labels_count_where_top_is_given(
    top: int | None, pictures: float
) -> None:
    figures = count_detections(ROWS, ("BELLY",), 0.0, top)
    assert figures.pictures_flagged is not None
    assert figures.pictures_flagged.percent == pictures


def test_without_pictures_there_is_no_share() -> None:
    figures = count_detections([], ("FEET",), 0.6)
    assert (figures.pictures_flagged, figures.detections) == (None, 0)
