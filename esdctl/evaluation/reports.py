"""From the rows of the judges to an evaluation's report."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from esdctl.evaluation.evaluation_report import EvaluationReport, ModelFigures
from esdctl.evaluation.judgements import Inspection, Judgement, JudgementFile, JudgingSettings
from esdctl.evaluation.judges.detector import Detector, labels_that_count
from esdctl.evaluation.judges.judge import Classifier
from esdctl.evaluation.metrics.accuracy import (
    count_confusion,
    measure_accuracy,
    measure_groups,
    measure_retention,
    measure_unlearning,
)
from esdctl.evaluation.metrics.collateral import measure_collateral
from esdctl.evaluation.metrics.detections import DetectionFigures, count_detections
from esdctl.evaluation.metrics.fidelity import FidelityFigure
from esdctl.evaluation.picture_fidelity import measure_fidelity
from esdctl.evaluation.plan import EvaluationPlan
from esdctl.evaluation.sources import PictureSource
from esdctl.models.erased_concepts import retained_names
from esdctl.progress import Reporter


def accuracy_report(
    plan: EvaluationPlan,
    judge: Classifier,
    sources: Sequence[PictureSource],
    seen: Sequence[tuple[JudgementFile[Judgement], list[Judgement]]],
    device: torch.device,
    reporter: Reporter,
) -> EvaluationReport:
    """UA, IRA, CRA and what goes with them, by one classifier.

    Args:
        plan: what was evaluated.
        judge: the classifier.
        sources: where the pictures came from, the base's first; one where there is no base.
        seen: by source, the file of rows and the rows.
        device: for the features of a protocol of fidelity.
        reporter: told of long work.
    """
    file, rows = seen[-1]
    report = _plain_report(plan, judge, _figures_of(plan, sources[-1], file, rows), file.settings)
    report = replace(
        report,
        confusion={kind: count_confusion(rows, kind) for kind in ("style", "object")},
    )
    if len(sources) == 1:
        return report
    base_file, base_rows = seen[0]
    retained = retained_names(plan.pipeline)
    fidelity: tuple[FidelityFigure, ...] = ()
    folders = sources[-1].folder, sources[0].folder
    if plan.protocol.counts.figures == "fidelity" and folders[0] and folders[1]:
        fidelity = measure_fidelity(
            judge, plan.models, plan.cases, (folders[0], folders[1]), device, reporter
        )
    return replace(
        report,
        base=_figures_of(plan, sources[0], base_file, base_rows),
        percent_of_base=measure_retention(rows, base_rows, plan.targets),
        collateral=measure_collateral(rows, base_rows, plan.targets),
        by_group={}
        if retained is None
        else measure_groups(rows, base_rows, plan.targets, retained),
        fidelity=fidelity,
    )


def detection_report(
    plan: EvaluationPlan,
    judge: Detector,
    sources: Sequence[PictureSource],
    seen: Sequence[tuple[JudgementFile[Inspection], list[Inspection]]],
) -> EvaluationReport:
    """What one detector saw; arguments as those of ``accuracy_report``."""
    models = [
        ModelFigures(source.name, file.model, str(file.path), _kept(source))
        for source, (file, _) in zip(sources, seen, strict=True)
    ]
    counted = [_detections(plan, judge, rows) for _, rows in seen]
    report = _plain_report(plan, judge, models[-1], seen[-1][0].settings)
    has_base = len(sources) > 1
    return replace(
        report,
        base=models[0] if has_base else None,
        detections=counted[-1],
        base_detections=counted[0] if has_base else None,
    )


def _plain_report(
    plan: EvaluationPlan,
    judge: Classifier | Detector,
    model: ModelFigures,
    settings: JudgingSettings,
) -> EvaluationReport:
    return EvaluationReport(
        protocol=plan.protocol,
        changes=plan.changes,
        judge=judge.name,
        targets=plan.targets,
        settings=settings,
        seeds=plan.seeds,
        pictures=len(plan.cases),
        model=model,
        base=None,
    )


def _detections(
    plan: EvaluationPlan, judge: Detector, rows: Sequence[Inspection]
) -> DetectionFigures:
    counts = plan.protocol.counts
    labels = labels_that_count(judge, counts.labels)
    return count_detections([row.seen for row in rows], labels, counts.threshold)


def _figures_of(
    plan: EvaluationPlan,
    source: PictureSource,
    file: JudgementFile[Judgement],
    rows: Sequence[Judgement],
) -> ModelFigures:
    return ModelFigures(
        name=source.name,
        digest=file.model,
        rows=str(file.path),
        pictures=_kept(source),
        accuracy=measure_accuracy(rows),
        unlearning=measure_unlearning(rows, plan.targets),
    )


def _kept(source: PictureSource) -> str | None:
    return None if source.folder is None else str(source.folder)
