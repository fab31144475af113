"""plan -> predictions -> report; what ``esdctl evaluate`` calls."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from esdctl.checkpoints.changes.apply import open_change
from esdctl.evaluation.judgements import Judgement, JudgementFile, JudgingSettings
from esdctl.evaluation.judging import Judging
from esdctl.evaluation.metrics.accuracy import (
    Accuracy,
    ErasedConcept,
    Retention,
    Unlearning,
    measure_accuracy,
    measure_retention,
    measure_unlearning,
)
from esdctl.evaluation.plan import EvaluationPlan
from esdctl.models.erased_concepts import erased_from
from esdctl.models.resolve import Pipeline
from esdctl.progress import Reporter
from esdctl.sampling.cells import folder_name
from esdctl.sampling.plan import BatchSize


@dataclass(frozen=True)
class ModelFigures:
    """What was measured of one model.

    Args:
        name, digest: which model.
        predictions: the file of its rows.
        pictures: the folder of its pictures; None where none are kept.
        accuracy: by domain and by concept.
        unlearning: by target; empty without one.
    """

    name: str
    digest: str
    predictions: str
    pictures: str | None
    accuracy: Accuracy
    unlearning: dict[str, Unlearning]


@dataclass(frozen=True)
class EvaluationReport:
    """What was measured, and how.

    Args:
        classifier: who judged, by name.
        targets: the erased concepts; none where plain accuracy was measured.
        settings: how pictures were made and judged.
        seeds: as the user gave them.
        pictures: of each model.
        model: the model that was named.
        base: what it was erased from; None where it is a base itself.
        percent_of_base: IRA and CRA in percent of the base's own, by target.
    """

    classifier: str
    targets: tuple[ErasedConcept, ...]
    settings: JudgingSettings
    seeds: tuple[int, ...]
    pictures: int
    model: ModelFigures
    base: ModelFigures | None
    percent_of_base: dict[str, Retention]

    def document(self) -> dict[str, object]:
        """The report as a JSON document."""
        return asdict(self)


def evaluate(
    plan: EvaluationPlan,
    folder: Path,
    device: torch.device,
    batch_size: BatchSize,
    reporter: Reporter,
    pictures: Path | None = None,
) -> EvaluationReport:
    """Sample and judge what is not judged yet, the base first, and sum up.

    Args:
        plan: what to evaluate.
        folder: where predictions are kept and looked up; the base's serve all its erasures.
        device: where to sample and classify.
        batch_size: at most so many pictures at once; changes no picture.
        reporter: told of each picture, and of predictions that are there already.
        pictures: where to keep the pictures, a folder a model, if the plan says so.

    Returns:
        The report.

    Raises:
        InputError, Interrupted, StorageError: as ``Judging.judge``.
    """
    judging = Judging(plan.classifier, plan.settings, folder, device, batch_size, reporter)
    base, base_rows = None, None
    if plan.pipeline.delta is not None:
        pipeline = base_of(plan.pipeline)
        keep = _kept_in(pictures, pipeline)
        file, base_rows = judging.judge(pipeline, plan.cells, "base model", keep)
        base = _summed_up(pipeline, file, base_rows, plan.targets, keep)
    task = "model" if base is None else "erased model"
    keep = _kept_in(pictures, plan.pipeline)
    file, rows = judging.judge(plan.pipeline, plan.cells, task, keep)
    retention: dict[str, Retention] = {}
    if base_rows is not None:
        retention = measure_retention(rows, base_rows, plan.targets)
    return EvaluationReport(
        classifier=plan.classifier.name,
        targets=plan.targets,
        settings=plan.settings,
        seeds=plan.seeds,
        pictures=len(plan.cells),
        model=_summed_up(plan.pipeline, file, rows, plan.targets, keep),
        base=base,
        percent_of_base=retention,
    )


def missing_pictures(plan: EvaluationPlan, folder: Path) -> list[int]:
    """How many pictures each model still has to make, the base first.

    Raises:
        InputError: a file of predictions is damaged.
    """
    models = [plan.pipeline]
    if plan.pipeline.delta is not None:
        models.insert(0, base_of(plan.pipeline))
    files = [JudgementFile(folder, plan.settings, model.digest()) for model in models]
    known = [file.read() for file in files]
    return [sum(cell not in rows for cell in plan.cells) for rows in known]


def base_of(pipeline: Pipeline) -> Pipeline:
    """The model that all deltas stand on, under its own name."""
    deltas = [*pipeline.earlier, *([pipeline.delta] if pipeline.delta else [])]
    name = open_change(deltas[0]).about.get("base", "base") if deltas else pipeline.name
    return replace(pipeline, name=name, delta=None, earlier=())


def _kept_in(pictures: Path | None, pipeline: Pipeline) -> Path | None:
    return None if pictures is None else pictures / folder_name(pipeline, erased_from(pipeline))


def _summed_up(
    pipeline: Pipeline,
    file: JudgementFile,
    rows: Sequence[Judgement],
    targets: Sequence[ErasedConcept],
    keep: Path | None,
) -> ModelFigures:
    return ModelFigures(
        name=pipeline.name,
        digest=file.model,
        predictions=str(file.path),
        pictures=None if keep is None else str(keep),
        accuracy=measure_accuracy(rows),
        unlearning=measure_unlearning(rows, targets),
    )
