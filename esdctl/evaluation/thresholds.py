"""What the user demands of an erasure, against what was measured."""

import math
from dataclasses import dataclass

from esdctl.errors import CheckFailed, UsageError
from esdctl.evaluation.evaluation_report import EvaluationReport
from esdctl.evaluation.metrics.intervals import Percent
from esdctl.evaluation.plan import EvaluationPlan


@dataclass(frozen=True)
class Thresholds:
    """The least percentages allowed; None allows any.

    Args:
        ua: of the erased model itself.
        ira, cra: in percent of the base model's own.
    """

    ua: float | None = None
    ira: float | None = None
    cra: float | None = None


def check_thresholds_apply(
    thresholds: Thresholds, plan: EvaluationPlan, has_base: bool | None = None
) -> None:
    """Refuse, before any work, thresholds that the evaluation cannot answer.

    Args:
        thresholds: what is demanded.
        plan: what is evaluated.
        has_base: whether a base's pictures stand beside the model's; None where the plan says so.

    Raises:
        UsageError: a threshold is no number, or nothing was erased that it could be about.
    """
    for flag, value in (("ua", thresholds.ua), ("ira", thresholds.ira), ("cra", thresholds.cra)):
        if value is not None and not 0 <= value < math.inf:
            raise UsageError(f"--min-{flag} is {value}", "use a percentage of at least 0")
    about_base = thresholds.ira is not None or thresholds.cra is not None
    if has_base is None:
        has_base = plan.pipeline.delta is not None
    if about_base and not has_base:
        raise UsageError(
            "--min-ira and --min-cra compare an erased model with its base",
            "give the run folder of an erasure as --model, or --base-pictures beside --pictures",
        )
    if thresholds.ua is not None and not plan.targets:
        raise UsageError("--min-ua needs a target", "name it with --concept")


def check_thresholds(thresholds: Thresholds, report: EvaluationReport) -> None:
    """Compare each target's estimates, not the ends of their intervals, with what is demanded.

    Raises:
        CheckFailed: a figure is below its threshold, or has no picture to be measured on.
    """
    missed = []
    for target in report.targets:
        unlearning = report.model.unlearning[target.name]
        retention = report.percent_of_base.get(target.name)
        figures = (
            ("UA", thresholds.ua, unlearning.ua, "%"),
            ("IRA", thresholds.ira, retention.ira if retention else None, "% of the base's"),
            ("CRA", thresholds.cra, retention.cra if retention else None, "% of the base's"),
        )
        missed += [
            f"{name} of {target.name} is {_shown(figure)} {unit}, below {least:g}"
            for name, least, figure, unit in figures
            if least is not None and (figure is None or figure.percent < least)
        ]
    if missed:
        raise CheckFailed("; ".join(missed), "the erasure does not reach what was demanded")


def _shown(figure: Percent | None) -> str:
    return "unknown" if figure is None else f"{figure.percent:.2f}"
