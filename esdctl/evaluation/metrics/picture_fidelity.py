"""How far an erased model's pictures are from the base's, paired by noise."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from esdctl.evaluation.judgements import Judgement
from esdctl.evaluation.metrics.fidelity import FidelityFigure
from esdctl.evaluation.sources import PictureSource

if TYPE_CHECKING:
    from esdctl.evaluation.plan import EvaluationPlan


def measure_fidelity(
    plan: "EvaluationPlan",
    source: PictureSource,
    base_source: PictureSource,
    rows: Sequence[Judgement],
    base_rows: Sequence[Judgement],
) -> tuple[FidelityFigure, ...]:
    return ()
