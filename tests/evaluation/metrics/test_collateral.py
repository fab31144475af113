"""The collateral map: distances in units of the base's spread, the target's neighbours first."""

import numpy as np
import pytest

from esdctl.evaluation.features import packed_features, unpacked_features
from esdctl.evaluation.judgements import Judgement
from esdctl.evaluation.metrics.accuracy import (
    ErasedConcept,
    count_confusion,
    measure_groups,
)
from esdctl.evaluation.metrics.collateral import measure_collateral

TARGET = ErasedConcept("style", "Mosaic")
# By style and object, the base's features: Bricks lies beside Mosaic, Rust opposite.
BASE = {
    ("Mosaic", "Cats"): (4.0, 1.0), ("Mosaic", "Dogs"): (4.0, -1.0),
    ("Bricks", "Cats"): (3.0, 1.0), ("Bricks", "Dogs"): (3.0, -1.0),
    ("Rust", "Cats"): (-4.0, 1.0), ("Rust", "Dogs"): (-4.0, -1.0),
}  # fmt: skip


def row(style: str, thing: str, features: tuple[float, float], seen: str = "") -> Judgement:
    packed = packed_features(np.array(features, np.float32))
    return Judgement(
        style, thing, len(style), seen or style, thing, 1.0, 1.0, f"{style} {thing}",
        features=packed,
    )  # fmt: skip


def rows(moved: dict[str, float], seen: dict[str, str] | None = None) -> list[Judgement]:
    return [
        row(style, thing, (x, y + moved.get(style, 0.0)), (seen or {}).get(style, ""))
        for (style, thing), (x, y) in BASE.items()
    ]


def test_features_come_back_in_half_precision() -> None:
    assert unpacked_features(packed_features(np.array([1.5, -2.0], np.float32))).tolist() == [
        1.5, -2.0,
    ]  # fmt: skip


def test_neighbours_come_first_and_distances_are_by_hand() -> None:
    found = measure_collateral(rows({"Bricks": 0.5}), rows({}), [TARGET])
    styles = [each for each in found if each.kind == "style"]
    assert [each.name for each in styles] == ["Bricks", "Rust"]
    assert styles[0].nearness == pytest.approx(1.0)
    assert styles[1].nearness == pytest.approx(-1.0)
    # Bricks' pictures lie at y = 1 and -1, a root mean square of 1 from their mean; each moved 0.5.
    assert styles[0].moved == pytest.approx(0.5)
    assert styles[1].moved == 0.0


def test_the_targets_pictures_count_for_no_object() -> None:
    found = measure_collateral(rows({"Mosaic": 9.0}), rows({}), [TARGET])
    assert all(each.moved == 0.0 for each in found)
    assert all(each.accuracy is not None and each.accuracy.n == 2 for each in found)


def test_without_features_or_target_there_is_no_map() -> None:
    plain = [Judgement("Rust", "Cats", 1, "Rust", "Cats", 1.0, 1.0)]
    assert measure_collateral(plain, plain, [TARGET]) == ()
    assert measure_collateral(rows({}), rows({}), []) == ()


def test_what_was_kept_by_name_is_told_apart_from_the_rest() -> None:
    seen = rows({}, {"Rust": "Bricks"})
    groups = measure_groups(seen, rows({}), [TARGET], {"Bricks", "Cats"})["Mosaic"]
    assert groups["retained"].ira is not None
    assert groups["retained"].ira.percent == 100.0
    assert groups["not retained"].ira is not None
    assert groups["not retained"].ira.percent == 0.0
    assert groups["not retained"].cra is not None
    assert groups["not retained"].cra.percent == 100.0


def test_confusion_counts_what_was_taken_for_what() -> None:
    assert count_confusion(rows({}, {"Rust": "Bricks"}), "style") == {
        "Mosaic": {"Mosaic": 2},
        "Bricks": {"Bricks": 2},
        "Rust": {"Bricks": 2},
    }
