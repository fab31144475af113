"""UA, IRA and CRA of hand-made rows, counted by hand."""

import pytest

from esdctl.evaluation.judgements import Judgement
from esdctl.evaluation.metrics.accuracy import (
    ErasedConcept,
    measure_accuracy,
    measure_retention,
    measure_unlearning,
)
from esdctl.evaluation.metrics.intervals import Percent

Seen = tuple[str, str]


def rows(seen: dict[Seen, list[Seen]]) -> list[Judgement]:
    """(style, object) asked for -> what was seen on its pictures."""
    return [
        Judgement(style, name, seed, *verdict, 0.9, 0.8)
        for (style, name), verdicts in seen.items()
        for seed, verdict in enumerate(verdicts)
    ]


BASE = rows(
    {
        ("Mosaic", "Cats"): [("Mosaic", "Cats"), ("Mosaic", "Cats")],
        ("Mosaic", "Dogs"): [("Mosaic", "Dogs"), ("Mosaic", "Dogs")],
        ("Rust", "Cats"): [("Rust", "Cats"), ("Rust", "Cats")],
        ("Rust", "Dogs"): [("Rust", "Dogs"), ("Mosaic", "Dogs")],
    }
)
ERASED = rows(
    {
        ("Mosaic", "Cats"): [("Rust", "Cats"), ("Rust", "Dogs")],
        ("Mosaic", "Dogs"): [("Rust", "Dogs"), ("Mosaic", "Dogs")],
        ("Rust", "Cats"): [("Rust", "Cats"), ("Mosaic", "Cats")],
        ("Rust", "Dogs"): [("Rust", "Dogs"), ("Mosaic", "Cats")],
    }
)
STYLE, OBJECT = ErasedConcept("style", "Mosaic"), ErasedConcept("object", "Dogs")


def counted(measured: Percent | None) -> tuple[float, int]:
    assert measured is not None
    return measured.percent, measured.n


def test_an_erased_style() -> None:
    figures = measure_unlearning(ERASED, [STYLE])[STYLE.name]
    assert counted(figures.ua) == (75, 4)  # one of four Mosaic pictures is still Mosaic
    assert counted(figures.ira) == (50, 4)  # two of four Rust pictures are Rust
    assert counted(figures.cra) == (75, 4)  # on Rust pictures, one object of four is wrong
    assert counted(figures.cra_with_target) == (75, 8)


def test_an_erased_object() -> None:
    figures = measure_unlearning(ERASED, [OBJECT])[OBJECT.name]
    assert counted(figures.ua) == (25, 4)
    assert counted(figures.ira) == (75, 4)
    assert counted(figures.cra) == (25, 4)  # the style is right on one Cats picture
    assert counted(figures.cra_with_target) == (37.5, 8)


def test_the_base_keeps_what_nobody_erased() -> None:
    figures = measure_unlearning(BASE, [STYLE])[STYLE.name]
    assert counted(figures.ua) == (0, 4)
    assert counted(figures.ira) == (75, 4)
    assert counted(figures.cra) == (100, 4)


def test_retention_is_in_percent_of_the_bases_accuracy() -> None:
    kept = measure_retention(ERASED, BASE, [STYLE])[STYLE.name]
    percent, n = counted(kept.ira)
    assert percent == pytest.approx(200 / 3)  # 50 of 75 percent
    assert n == 4
    assert counted(kept.cra) == (75, 4)
    assert counted(kept.cra_with_target) == (75, 8)


def test_retention_compares_the_same_pictures() -> None:
    with pytest.raises(ValueError, match="different pictures"):
        measure_retention(ERASED, BASE[1:], [STYLE])


def test_accuracy_by_concept() -> None:
    accuracy = measure_accuracy(BASE)
    assert counted(accuracy.style) == (87.5, 8)
    assert counted(accuracy.object) == (100, 8)
    assert {name: counted(each) for name, each in accuracy.by_style.items()} == {
        "Mosaic": (100, 4),
        "Rust": (75, 4),
    }
    assert list(accuracy.by_object) == ["Cats", "Dogs"]


def test_without_other_concepts_there_is_nothing_to_retain() -> None:
    alone = [row for row in ERASED if row.style == "Mosaic"]
    figures = measure_unlearning(alone, [STYLE])[STYLE.name]
    assert counted(figures.ua) == (75, 4)
    assert figures.ira is None
    assert figures.cra is None


def test_of_several_targets_none_counts_as_a_loss_of_another() -> None:
    figures = measure_unlearning(ERASED, [STYLE, OBJECT])
    assert counted(figures["Mosaic"].ua) == (75, 4)
    assert counted(figures["Dogs"].ua) == (25, 4)
    for each in figures.values():  # Rust with Cats alone asks for no target
        assert each.ira is not None
        assert each.ira.n == 2
    assert counted(figures["Mosaic"].ira) == (50, 2)
    assert counted(figures["Dogs"].ira) == (100, 2)
    kept = measure_retention(ERASED, BASE, [STYLE, OBJECT])
    assert counted(kept["Mosaic"].ira) == (50, 2)
