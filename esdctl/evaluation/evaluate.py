"""plan -> pictures -> rows -> figures; what ``esdctl evaluate`` calls."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from esdctl.checkpoints.changes.apply import open_change
from esdctl.errors import UsageError
from esdctl.evaluation.evaluation_report import EvaluationReport
from esdctl.evaluation.figures_file import figures_path, write_figures
from esdctl.evaluation.judgements import (
    Inspection,
    Judgement,
    JudgementFile,
    JudgingSettings,
    Row,
)
from esdctl.evaluation.judges.detector import Detector
from esdctl.evaluation.judges.judge import Classifier
from esdctl.evaluation.judging import ClassifierJudge, DetectorJudge, Judging, PictureJudge
from esdctl.evaluation.plan import EvaluationPlan
from esdctl.evaluation.reports import accuracy_report, detection_report
from esdctl.evaluation.sources import ModelPictures, PictureSource
from esdctl.models.erased_concepts import erased_from
from esdctl.models.resolve import Pipeline
from esdctl.progress import Reporter
from esdctl.sampling.cells import folder_name
from esdctl.sampling.plan import BatchSize

Stage = Literal["sample", "judge", "figures"]
STAGES: tuple[Stage, ...] = ("sample", "judge", "figures")


@dataclass(frozen=True)
class Execution:
    """Where and how an evaluation runs; nothing here changes a figure.

    Args:
        folder: where rows and figures are kept; the base's rows serve all its erasures.
        device: where to sample and judge.
        batch_size: at most so many pictures at once.
        stages: which to run; what an earlier one would make must be there.
        keeps_pictures: whether pictures stay, in ``pictures`` beside the rows.
        layout: a folder for pictures in the benchmark's layout, one for each model, or None.
        given, given_base: pictures that another program made, in place of sampling.
    """

    folder: Path
    device: torch.device
    batch_size: BatchSize
    stages: tuple[Stage, ...] = STAGES
    keeps_pictures: bool = False
    layout: Path | None = None
    given: PictureSource | None = None
    given_base: PictureSource | None = None


def parse_stages(text: str) -> tuple[Stage, ...]:
    """Stages by their names, with commas between them, in the order of running.

    Raises:
        UsageError: a name is unknown.
    """
    asked = [name.strip().lower() for name in text.split(",")]
    unknown = [name for name in asked if name not in STAGES]
    if unknown:
        raise UsageError(f"--stages: no stage {unknown[0]!r}", f"use some of {','.join(STAGES)}")
    return tuple(stage for stage in STAGES if stage in asked)


def evaluate(
    plan: EvaluationPlan, execution: Execution, reporter: Reporter
) -> list[EvaluationReport]:
    """Make, judge and sum up what is not there yet, the base first.

    Args:
        plan: what to evaluate.
        execution: where and how.
        reporter: told of each batch, and of rows that are there already.

    Returns:
        A report a judge, each written as a figures document; none where the last stage is not run.

    Raises:
        InputError, UsageError, DeviceError, Interrupted, StorageError: as ``Judging.judge``.
    """
    sources = _sources(plan, execution)
    tasks = ["base model", "erased model"] if len(sources) > 1 else ["model"]
    if execution.stages == ("sample",):
        for source in sources:
            source.prepare(plan.cases, execution.batch_size, reporter)
        return []
    by = _judge_by_classifiers if plan.classifiers else _judge_by_detectors
    reports = by(plan, execution, reporter, sources, tasks)
    if "figures" not in execution.stages:
        return []
    for report in reports:
        path = figures_path(execution.folder, report.model.digest, plan.protocol.name, report.asked)
        write_figures(path, report.document())
    return [replace(report, file=str(path)) for report in reports]


def _judge_by_classifiers(
    plan: EvaluationPlan,
    execution: Execution,
    reporter: Reporter,
    sources: Sequence[PictureSource],
    tasks: Sequence[str],
) -> list[EvaluationReport]:
    judges = [
        (ClassifierJudge(each), _settings(plan, execution, each)) for each in plan.classifiers
    ]
    seen = _seen(judges, plan, execution, reporter, sources, tasks)
    return [
        accuracy_report(
            plan, judge, sources, [each[index] for each in seen], execution.device, reporter
        )
        for index, judge in enumerate(plan.classifiers)
    ]


def _seen(
    judges: Sequence[tuple[PictureJudge[Row], JudgingSettings]],
    plan: EvaluationPlan,
    execution: Execution,
    reporter: Reporter,
    sources: Sequence[PictureSource],
    tasks: Sequence[str],
) -> list[list[tuple[JudgementFile[Row], list[Row]]]]:
    """By source, then by judge: the file of rows, and the rows."""
    judging = Judging(
        judges,
        execution.folder,
        execution.device,
        execution.batch_size,
        reporter,
        only_known=execution.stages == ("figures",),
    )
    return [
        judging.judge(source, plan.cases, task) for source, task in zip(sources, tasks, strict=True)
    ]


def _judge_by_detectors(
    plan: EvaluationPlan,
    execution: Execution,
    reporter: Reporter,
    sources: Sequence[PictureSource],
    tasks: Sequence[str],
) -> list[EvaluationReport]:
    judges = [(DetectorJudge(each), _settings(plan, execution, each)) for each in plan.detectors]
    seen = _seen(judges, plan, execution, reporter, sources, tasks)
    return [
        detection_report(plan, judge, sources, [each[index] for each in seen])
        for index, judge in enumerate(plan.detectors)
    ]


def results_of(plan: EvaluationPlan, execution: Execution) -> list[Path]:
    """What the last of the stages leaves of the named model: its pictures, or its rows."""
    source = _sources(plan, execution)[-1]
    if execution.stages == ("sample",):
        return [] if source.folder is None else [source.folder]
    return [
        JudgementFile(
            execution.folder, _settings(plan, execution, judge), source.digest(), Judgement
        ).path
        for judge in plan.judges
    ]


def missing_pictures(plan: EvaluationPlan, folder: Path) -> list[int]:
    """How many pictures each model still has to make, the base first.

    Raises:
        InputError: a file of rows is damaged.
    """
    models = [plan.pipeline]
    if plan.pipeline.delta is not None:
        models.insert(0, base_of(plan.pipeline))
    counts = []
    for model in models:
        digest = model.digest()
        known = [
            set(JudgementFile(folder, plan.settings_of(judge), digest, Judgement).read())
            for judge in plan.classifiers
        ] + [
            set(JudgementFile(folder, plan.settings_of(judge), digest, Inspection).read())
            for judge in plan.detectors
        ]
        counts.append(sum(any(case.key not in keys for keys in known) for case in plan.cases))
    return counts


def base_of(pipeline: Pipeline) -> Pipeline:
    """The model that all deltas stand on, under its own name."""
    deltas = [*pipeline.earlier, *([pipeline.delta] if pipeline.delta else [])]
    name = open_change(deltas[0]).about.get("base", "base") if deltas else pipeline.name
    return replace(pipeline, name=name, delta=None, earlier=())


def _sources(plan: EvaluationPlan, execution: Execution) -> list[PictureSource]:
    """Where pictures come from, the base's first; one where there is no base to compare with."""
    if execution.given is not None:
        return [*([execution.given_base] if execution.given_base else []), execution.given]
    models = [plan.pipeline]
    if plan.pipeline.delta is not None:
        models.insert(0, base_of(plan.pipeline))
    return [
        ModelPictures(model, execution.device, _kept_in(plan, execution, model)) for model in models
    ]


def _kept_in(plan: EvaluationPlan, execution: Execution, pipeline: Pipeline) -> Path | None:
    if execution.layout is not None:
        return execution.layout / folder_name(pipeline, erased_from(pipeline))
    if not (execution.keeps_pictures or plan.protocol.counts.figures == "fidelity"):
        return None
    sampling = plan.settings.sampling_digest
    return execution.folder / "pictures" / sampling / pipeline.digest()[:16]


def _settings(
    plan: EvaluationPlan, execution: Execution, judge: Classifier | Detector
) -> JudgingSettings:
    if execution.given is None:
        return plan.settings_of(judge)
    return JudgingSettings(judge.digest(), None, None, None, stored="given")
