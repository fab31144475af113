"""What to evaluate: a model, its targets, and a protocol spelt out as cases."""

import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

from esdctl.errors import IntegrityError, UsageError
from esdctl.evaluation.cases import Case, grid_cases
from esdctl.evaluation.judgements import JudgingSettings, Stored
from esdctl.evaluation.judges.detector import Detector, find_detector, label_notes
from esdctl.evaluation.judges.find import find_classifier, parse_classifier
from esdctl.evaluation.judges.judge import Classifier
from esdctl.evaluation.metrics.accuracy import ErasedConcept
from esdctl.evaluation.protocols.protocol import OWN_JUDGE, Protocol, find_protocol
from esdctl.evaluation.request import Request, changes_of
from esdctl.evaluation.row_cases import prompts_digest, row_cases, rows_of
from esdctl.models.erased_concepts import erased_from
from esdctl.models.image_size import trained_size
from esdctl.models.resolve import Pipeline
from esdctl.sampling.cells import CellSettings, known_name, plan_grid
from esdctl.sampling.defaults import default_guidance
from esdctl.sampling.plan import SamplingSettings
from esdctl.sampling.schedulers import Scheduler, most_steps

MODELS = Path("models")  # of the workspace in the current folder
MAX_SIDE = 100_000  # pixels; no model makes larger pictures


@dataclass(frozen=True)
class EvaluationPlan:
    """An evaluation, ready to run.

    Args:
        pipeline: the model.
        protocol: what decides the figures.
        changes: what the user changed of it, by key.
        classifiers, detectors: who judge, side by side; one of the two is empty.
        targets: the concepts whose erasure is measured; none measures plain accuracy.
        settings: how pictures are made and judged; the judge's digest is the first one's.
        seeds: as the user or the protocol gave them; none where they are the rows' own.
        cases: the pictures; their seeds are those of the noise.
        models: the workspace's folder of models, where encoders are looked for.
        notes: what was asked for and does not count.
    """

    pipeline: Pipeline
    protocol: Protocol
    changes: dict[str, str]
    classifiers: tuple[Classifier, ...]
    detectors: tuple[Detector, ...]
    targets: tuple[ErasedConcept, ...]
    settings: JudgingSettings
    seeds: tuple[int, ...]
    cases: tuple[Case, ...]
    models: Path = MODELS
    notes: tuple[str, ...] = ()

    @property
    def judges(self) -> tuple[Classifier | Detector, ...]:
        """Who judge, whatever their kind."""
        return (*self.classifiers, *self.detectors)

    def in_dtype(self, dtype: str) -> "EvaluationPlan":
        """The same pictures by a U-Net that computes in fp32, bf16 or fp16."""
        cases = tuple(
            replace(case, picture=replace(case.picture, dtype=dtype)) for case in self.cases
        )
        return replace(self, settings=replace(self.settings, dtype=dtype), cases=cases)

    def settings_of(self, judge: Classifier | Detector) -> JudgingSettings:
        """How pictures are made and judged for one of the judges."""
        return replace(self.settings, classifier=judge.digest())

    def document(self) -> dict[str, object]:
        """The plan as a JSON document."""
        protocol = self.protocol
        return {
            "model": self.pipeline.name,
            "protocol": {"name": protocol.name, "version": protocol.version},
            "changes": self.changes,
            "judges": [judge.name for judge in self.judges],
            "targets": [asdict(target) for target in self.targets],
            "settings": asdict(self.settings),
            "seeds": list(self.seeds),
            "styles": list(dict.fromkeys(case.style for case in self.cases if case.style)),
            "objects": list(dict.fromkeys(case.object for case in self.cases if case.object)),
            "pictures_a_model": len(self.cases),
        }


def plan_evaluation(pipeline: Pipeline, request: Request, models: Path = MODELS) -> EvaluationPlan:
    """Spell out an evaluation.

    Args:
        pipeline: the base or an erased model.
        request: what the user asks for.
        models: the workspace's folder of models, where judges lie; data sets lie beside it.

    Returns:
        The plan.

    Raises:
        UsageError: a name is unknown, a number is out of range, or the protocol has no use for what
            was asked.
        InputError, IntegrityError: there is no such judge or table, or it is damaged.
    """
    protocol = None if request.protocol is None else find_protocol(request.protocol)
    if protocol is not None and protocol.counts.figures == "detections":
        return _plan_detections(pipeline, protocol, request, models)
    names = request.judges or (protocol.judges if protocol else (OWN_JUDGE,))
    classifiers = tuple(
        find_classifier(pipeline, models, None if name == OWN_JUDGE else parse_classifier(name))
        for name in names
    )
    chosen = protocol or find_protocol(classifiers[0].protocol)
    _check_digests(chosen, classifiers)
    if request.prompts is not None and chosen.counts.figures == "fidelity":
        return _plan_rows(pipeline, chosen, request, models, classifiers, ())
    return replace(_plan_grid(pipeline, chosen, request, classifiers), models=models)


def _plan_grid(
    pipeline: Pipeline,
    protocol: Protocol,
    request: Request,
    classifiers: tuple[Classifier, ...],
) -> EvaluationPlan:
    """Styles x objects, judged by classifiers."""
    first, grid = classifiers[0], protocol.grid
    if grid is None or request.prompts is not None or request.first is not None:
        raise UsageError(
            f"the protocol {protocol.name} asks for styles and objects, not for rows of prompts",
            "leave --prompts and --first out, or name another --protocol",
        )
    sampling = protocol.sampling
    settings = CellSettings(
        sampling.steps if request.steps is None else request.steps,
        _first(request.guidance, sampling.guidance, default_guidance(pipeline)),
        sampling.image_size or min(trained_size(pipeline), sampling.largest or MAX_SIDE),
        request.scheduler or sampling.scheduler,
    )
    _check(settings.steps, settings.guidance, settings.scheduler)
    styles, objects = request.styles or grid.styles, request.objects or grid.objects
    chosen = plan_grid(first.styles, first.objects, styles, objects, "classifier")
    for other in classifiers[1:]:
        asked = chosen.chosen_styles, chosen.chosen_objects
        plan_grid(other.styles, other.objects, *asked, f"classifier {other.name}")
    targets = _targets(pipeline, request.concepts, first.styles, first.objects)
    for target in targets:
        if target.name not in (*chosen.chosen_styles, *chosen.chosen_objects):
            raise UsageError(
                f"the target {target.name} is not among the {target.kind}s to evaluate",
                f"add it to --{target.kind}s",
            )
    seeds = grid.seeds if request.seeds is None else request.seeds
    stored: Stored = "jpeg" if request.keeps_layout else sampling.stored
    suffix = "jpg" if stored == "jpeg" else "png"
    cases = grid_cases(chosen, grid.wordings, seeds, settings, suffix)
    if protocol.counts.figures == "fidelity":
        erased = {target.name for target in targets}
        cases = tuple(case for case in cases if not erased & {case.style, case.object})
    steps, guidance, size, scheduler = astuple(settings)
    judging = JudgingSettings(first.digest(), steps, guidance, size, scheduler, stored)
    return EvaluationPlan(
        pipeline, protocol, changes_of(protocol, request), classifiers, (), targets, judging, seeds,
        cases,
    )  # fmt: skip


def _plan_detections(
    pipeline: Pipeline, protocol: Protocol, request: Request, models: Path
) -> EvaluationPlan:
    if request.styles is not None or request.objects is not None or request.keeps_layout:
        raise UsageError(
            f"the protocol {protocol.name} has rows of prompts, no styles and objects",
            "leave --styles, --objects and --layout out",
        )
    names = request.judges or protocol.judges
    detectors = tuple(find_detector(name, models) for name in names)
    _check_digests(protocol, detectors)
    plan = _plan_rows(pipeline, protocol, request, models, (), detectors)
    return replace(plan, notes=(*plan.notes, *label_notes(detectors, protocol.counts.labels)))


def _plan_rows(
    pipeline: Pipeline,
    protocol: Protocol,
    request: Request,
    models: Path,
    classifiers: tuple[Classifier, ...],
    detectors: tuple[Detector, ...],
) -> EvaluationPlan:
    """A table of prompts, whatever is counted on its pictures."""
    sampling = protocol.sampling
    rows = rows_of(protocol, request.prompts, request.first, models.parent / "data")
    seeds = request.seeds or (protocol.rows.seeds if protocol.rows else None)
    guidance = sampling.guidance if request.guidance is None else request.guidance
    steps = sampling.steps if request.steps is None else request.steps
    scheduler = request.scheduler or sampling.scheduler
    size = sampling.image_size
    if size is not None:  # what is far from the model's own suits another model
        size = min(size, trained_size(pipeline))
    settings = SamplingSettings(seeds, guidance, steps, size, scheduler)
    cases, notes = row_cases(pipeline, rows, settings)
    judge = classifiers[0] if classifiers else detectors[0]
    judging = JudgingSettings(judge.digest(), steps, guidance, size, scheduler, sampling.stored)
    changes = changes_of(protocol, request)
    if request.prompts is not None:
        changes["prompts"] = f"{request.prompts.name} ({prompts_digest(rows)})"
    if size != sampling.image_size:
        changes["image_size"] = str(size)
    return EvaluationPlan(
        pipeline,
        protocol,
        changes,
        classifiers,
        detectors,
        (),
        judging,
        seeds or (),
        cases,
        models,
        notes,
    )


def _check_digests(protocol: Protocol, judges: Sequence[Classifier | Detector]) -> None:
    """Refuse a judge that is not the one that a protocol is bound to."""
    for judge in judges:
        bound = protocol.judge_digests.get(judge.name)
        if bound is not None and bound != judge.digest():
            raise IntegrityError(
                f"the protocol {protocol.name} is bound to {judge.name} of sha256 {bound}, and "
                f"this one has {judge.digest()}",
                "get that judge, or write a protocol of your own",
            )


def _check(steps: int, guidance: float, scheduler: Scheduler) -> None:
    most = most_steps(scheduler)
    if not 1 <= steps <= most:
        raise UsageError(f"--steps is {steps}", f"use 1 to {most}")
    if not 0 <= guidance < math.inf:
        raise UsageError(f"--guidance is {guidance}", "use a number of at least 0")


def _targets(
    pipeline: Pipeline, concepts: Sequence[str], styles: Sequence[str], objects: Sequence[str]
) -> tuple[ErasedConcept, ...]:
    """The concepts that the user names, else those that the metadata does; a base has none."""
    if not concepts and pipeline.delta is not None:
        concepts = erased_from(pipeline)
        if not concepts:
            raise UsageError(
                f"{pipeline.delta} does not say what was erased", "name it with --concept"
            )
    known = [*styles, *objects]
    names = [known_name(concept, known, "concept", "classifier") for concept in concepts]
    return tuple(
        ErasedConcept("style" if name in styles else "object", name)
        for name in dict.fromkeys(names)
    )


def _first(*values: float | None) -> float:
    """The first that is no None."""
    return next(value for value in values if value is not None)
