"""Unlearning, in-domain retain and cross-domain retain accuracy (Zhang et al. 2024, UnlearnCanvas).

For an erased style the domain is style and the other domain is object, and the other way round:

    UA   the share of the target's pictures that are not classified as the target
    IRA  the mean accuracy over the other concepts of the domain
    CRA  the mean accuracy over the other domain's concepts, the target's pictures left out

Every concept is asked for equally often, so a mean over concepts is a share of pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from esdctl.evaluation.metrics.intervals import Percent, paired_ratio, share
from esdctl.evaluation.predictions import Kind, Prediction


@dataclass(frozen=True)
class Target:
    """The concept that is erased, under the classifier's name."""

    kind: Kind
    name: str


@dataclass(frozen=True)
class Accuracy:
    """How often the classifier sees what was asked for, whatever is erased."""

    style: Percent | None
    object: Percent | None
    by_style: dict[str, Percent | None]
    by_object: dict[str, Percent | None]


@dataclass(frozen=True)
class Unlearning:
    """One model's figures for one target; None where there is no picture to measure on.

    Args:
        ua, ira, cra: as defined above.
        cra_with_target: CRA with the target's pictures, as the authors' code has it.
    """

    ua: Percent | None
    ira: Percent | None
    cra: Percent | None
    cra_with_target: Percent | None


@dataclass(frozen=True)
class Retention:
    """IRA and CRA in percent of the base model's; None where the base has no hit."""

    ira: Percent | None
    cra: Percent | None
    cra_with_target: Percent | None


def measure_accuracy(rows: Sequence[Prediction]) -> Accuracy:
    """Accuracy by domain and by concept, in the order in which the concepts come."""
    return Accuracy(
        style=share(_hits(rows, "style")),
        object=share(_hits(rows, "object")),
        by_style=_by_concept(rows, "style"),
        by_object=_by_concept(rows, "object"),
    )


def measure_unlearning(rows: Sequence[Prediction], target: Target) -> Unlearning:
    """UA, IRA and CRA of one model.

    Args:
        rows: its predictions, each concept equally often.
        target: the erased concept.
    """
    of_target = [row for row in rows if row.asked(target.kind) == target.name]
    others = _others(rows, target)
    return Unlearning(
        ua=share([row.predicted(target.kind) != target.name for row in of_target]),
        ira=share(_hits(others, target.kind)),
        cra=share(_hits(others, _other_kind(target))),
        cra_with_target=share(_hits(rows, _other_kind(target))),
    )


def measure_retention(
    rows: Sequence[Prediction], base_rows: Sequence[Prediction], target: Target
) -> Retention:
    """IRA and CRA in percent of the base model's own.

    Args:
        rows: the erased model's predictions.
        base_rows: the base model's for the same pictures in the same order.
        target: the erased concept.

    Raises:
        ValueError: the rows are of different pictures.
    """
    if [row.cell for row in rows] != [row.cell for row in base_rows]:
        raise ValueError("the two models' rows are of different pictures")
    others, base_others = _others(rows, target), _others(base_rows, target)
    kind, other_kind = target.kind, _other_kind(target)
    return Retention(
        ira=paired_ratio(_hits(others, kind), _hits(base_others, kind)),
        cra=paired_ratio(_hits(others, other_kind), _hits(base_others, other_kind)),
        cra_with_target=paired_ratio(_hits(rows, other_kind), _hits(base_rows, other_kind)),
    )


def _others(rows: Sequence[Prediction], target: Target) -> list[Prediction]:
    return [row for row in rows if row.asked(target.kind) != target.name]


def _other_kind(target: Target) -> Kind:
    return "object" if target.kind == "style" else "style"


def _hits(rows: Sequence[Prediction], kind: Kind) -> list[bool]:
    return [row.predicted(kind) == row.asked(kind) for row in rows]


def _by_concept(rows: Sequence[Prediction], kind: Kind) -> dict[str, Percent | None]:
    names = dict.fromkeys(row.asked(kind) for row in rows)
    return {
        name: share(_hits([row for row in rows if row.asked(kind) == name], kind)) for name in names
    }
