"""plan -> predictions -> report; what ``esdctl evaluate`` calls."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from esdctl.checkpoints.changes.delta import read_delta_metadata
from esdctl.evaluation.judging import Judge
from esdctl.evaluation.metrics.accuracy import (
    Accuracy,
    Retention,
    Target,
    Unlearning,
    measure_accuracy,
    measure_retention,
    measure_unlearning,
)
from esdctl.evaluation.plan import EvaluationPlan
from esdctl.evaluation.predictions import Prediction, PredictionFile, Settings
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import without_delta
from esdctl.progress import Reporter
from esdctl.sampling.plan import BatchSize


@dataclass(frozen=True)
class ModelReport:
    """What was measured of one model.

    Args:
        name, digest: which model.
        predictions: the file of its rows.
        accuracy: by domain and by concept.
        unlearning: None without a target.
    """

    name: str
    digest: str
    predictions: str
    accuracy: Accuracy
    unlearning: Unlearning | None


@dataclass(frozen=True)
class Report:
    """What was measured, and how.

    Args:
        classifier: who judged, by name.
        target: the erased concept; None where plain accuracy was measured.
        settings: how pictures were made and judged.
        seeds: as the user gave them.
        pictures: of each model.
        model: the model that was named.
        base: what it was erased from; None where it is a base itself.
        percent_of_base: IRA and CRA in percent of the base's own.
    """

    classifier: str
    target: Target | None
    settings: Settings
    seeds: tuple[int, ...]
    pictures: int
    model: ModelReport
    base: ModelReport | None
    percent_of_base: Retention | None

    def document(self) -> dict[str, object]:
        """The report as a JSON document."""
        return asdict(self)


def evaluate(
    plan: EvaluationPlan,
    folder: Path,
    device: torch.device,
    batch_size: BatchSize,
    reporter: Reporter,
) -> Report:
    """Sample and judge what is not judged yet, the base first, and sum up.

    Args:
        plan: what to evaluate.
        folder: where predictions are kept and looked up; the base's serve all its erasures.
        device: where to sample and classify.
        batch_size: at most so many pictures at once; changes no picture.
        reporter: told of each picture, and of predictions that are there already.

    Returns:
        The report.

    Raises:
        InputError, Interrupted, StorageError: as ``Judge.judge``.
    """
    judge = Judge(plan.classifier, plan.settings, folder, device, batch_size, reporter)
    base, base_rows = None, None
    if plan.pipeline.delta is not None:
        pipeline = base_of(plan.pipeline, plan.pipeline.delta)
        file, base_rows = judge.judge(pipeline, plan.cells, "base model")
        base = _summed_up(pipeline, file, base_rows, plan.target)
    task = "model" if base is None else "erased model"
    file, rows = judge.judge(plan.pipeline, plan.cells, task)
    retention = None
    if plan.target is not None and base_rows is not None:
        retention = measure_retention(rows, base_rows, plan.target)
    return Report(
        classifier=plan.classifier.name,
        target=plan.target,
        settings=plan.settings,
        seeds=plan.seeds,
        pictures=len(plan.cells),
        model=_summed_up(plan.pipeline, file, rows, plan.target),
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
        models.insert(0, base_of(plan.pipeline, plan.pipeline.delta))
    files = [PredictionFile(folder, plan.settings, model.digest()) for model in models]
    known = [file.read() for file in files]
    return [sum(cell not in rows for cell in plan.cells) for rows in known]


def base_of(pipeline: Pipeline, delta: Path) -> Pipeline:
    """The model that a delta stands on, under its own name."""
    name = read_delta_metadata(delta).get("base", "base")
    return replace(without_delta(pipeline), name=name)


def _summed_up(
    pipeline: Pipeline, file: PredictionFile, rows: Sequence[Prediction], target: Target | None
) -> ModelReport:
    return ModelReport(
        name=pipeline.name,
        digest=file.model,
        predictions=str(file.path),
        accuracy=measure_accuracy(rows),
        unlearning=measure_unlearning(rows, target) if target else None,
    )
