"""Unlearning, in-domain retain and cross-domain retain accuracy (Zhang et al. 2024, UnlearnCanvas).

For an erased style the domain is style and the other domain is object, and the other way round.
Where several concepts are erased, the figures are each target's, and no target's pictures count in
any IRA or CRA.

    UA   the share of the target's pictures that are not classified as the target
    IRA  the mean accuracy over the other concepts of the domain
    CRA  the mean accuracy over the other domain's concepts, the target's pictures left out

Every concept is asked for equally often, so a mean over concepts is a share of pictures.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from esdctl.evaluation.judgements import Judgement, Kind
from esdctl.evaluation.metrics.intervals import Percent, paired_ratio, share


@dataclass(frozen=True)
class ErasedConcept:
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


def measure_accuracy(rows: Sequence[Judgement]) -> Accuracy:
    """Accuracy by domain and by concept, in the order in which the concepts come."""
    return Accuracy(
        style=share(_hits(rows, "style")),
        object=share(_hits(rows, "object")),
        by_style=_by_concept(rows, "style"),
        by_object=_by_concept(rows, "object"),
    )


def measure_unlearning(
    rows: Sequence[Judgement], targets: Sequence[ErasedConcept]
) -> dict[str, Unlearning]:
    """UA, IRA and CRA of one model, by target.

    Args:
        rows: what was judged, each concept equally often.
        targets: the erased concepts.
    """
    others = _others(rows, targets)
    return {target.name: _unlearning(rows, others, target) for target in targets}


def _unlearning(
    rows: Sequence[Judgement], others: Sequence[Judgement], target: ErasedConcept
) -> Unlearning:
    of_target = [row for row in rows if row.asked(target.kind) == target.name]
    return Unlearning(
        ua=share([row.predicted(target.kind) != target.name for row in of_target]),
        ira=share(_hits(others, target.kind)),
        cra=share(_hits(others, _other_kind(target))),
        cra_with_target=share(_hits(rows, _other_kind(target))),
    )


def measure_retention(
    rows: Sequence[Judgement],
    base_rows: Sequence[Judgement],
    targets: Sequence[ErasedConcept],
) -> dict[str, Retention]:
    """IRA and CRA in percent of the base model's own, by target.

    Args:
        rows: what was judged of the erased model.
        base_rows: the base model's for the same pictures in the same order.
        targets: the erased concepts.

    Raises:
        ValueError: the rows are of different pictures.
    """
    if [row.key for row in rows] != [row.key for row in base_rows]:
        raise ValueError("the two models' rows are of different pictures")
    others, base_others = _others(rows, targets), _others(base_rows, targets)

    def of_base(some: Sequence[Judgement], base: Sequence[Judgement], kind: Kind) -> Percent | None:
        return paired_ratio(_hits(some, kind), _hits(base, kind))

    return {
        target.name: Retention(
            ira=of_base(others, base_others, target.kind),
            cra=of_base(others, base_others, _other_kind(target)),
            cra_with_target=of_base(rows, base_rows, _other_kind(target)),
        )
        for target in targets
    }


def measure_groups(
    rows: Sequence[Judgement],
    base_rows: Sequence[Judgement],
    targets: Sequence[ErasedConcept],
    retained: Collection[str],
) -> dict[str, dict[str, Retention]]:
    """IRA and CRA in percent of the base's, apart for concepts that the erasure was told to keep.

    A picture counts for IRA by its concept of the target's kind, and for CRA by the other one.

    Args:
        rows, base_rows, targets: as in ``measure_retention``.
        retained: names of the concepts that were kept by name.

    Returns:
        By target, then by ``retained`` and ``not retained``.
    """
    pairs = [
        (row, base)
        for row, base in zip(rows, base_rows, strict=True)
        if all(row.asked(t.kind) != t.name for t in targets)
    ]

    def of_base(kind: Kind, is_retained: bool) -> Percent | None:
        chosen = [pair for pair in pairs if (pair[0].asked(kind) in retained) == is_retained]
        mine, base = [pair[0] for pair in chosen], [pair[1] for pair in chosen]
        return paired_ratio(_hits(mine, kind), _hits(base, kind))

    return {
        target.name: {
            name: Retention(
                of_base(target.kind, is_retained), of_base(_other_kind(target), is_retained), None
            )
            for name, is_retained in (("retained", True), ("not retained", False))
        }
        for target in targets
    }


def count_confusion(rows: Sequence[Judgement], kind: Kind) -> dict[str, dict[str, int]]:
    """How many pictures of each concept were taken for which: asked -> predicted -> pictures."""
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        seen = counts.setdefault(row.asked(kind), {})
        seen[row.predicted(kind)] = seen.get(row.predicted(kind), 0) + 1
    return counts


def _others(rows: Sequence[Judgement], targets: Sequence[ErasedConcept]) -> list[Judgement]:
    """The rows that ask for no target."""
    return [row for row in rows if all(row.asked(t.kind) != t.name for t in targets)]


def _other_kind(target: ErasedConcept) -> Kind:
    return "object" if target.kind == "style" else "style"


def _hits(rows: Sequence[Judgement], kind: Kind) -> list[bool]:
    return [row.predicted(kind) == row.asked(kind) for row in rows]


def _by_concept(rows: Sequence[Judgement], kind: Kind) -> dict[str, Percent | None]:
    names = dict.fromkeys(row.asked(kind) for row in rows)
    return {
        name: share(_hits([row for row in rows if row.asked(kind) == name], kind)) for name in names
    }
