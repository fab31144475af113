"""What to evaluate: a model, its target, and styles x objects x seeds spelt out as cells."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from esdctl.errors import UsageError
from esdctl.evaluation.judgements import Cell, JudgingSettings
from esdctl.evaluation.judges.find import find_classifier
from esdctl.evaluation.judges.judge import Classifier
from esdctl.evaluation.metrics.accuracy import ErasedConcept
from esdctl.models.erased_concepts import erased_from
from esdctl.models.image_size import trained_size
from esdctl.models.resolve import Pipeline
from esdctl.sampling.cells import check_seeds, known_name, plan_grid
from esdctl.sampling.defaults import DEFAULT_SEED
from esdctl.sampling.plan import DDIM, Scheduler, check_count, most_steps

SEEDS = (DEFAULT_SEED,)
MODELS = Path("models")  # of the workspace in the current folder


@dataclass(frozen=True)
class Request:
    """What the user asks for; None leaves it to the model or the classifier.

    Args:
        concepts: the targets; else those that the model's metadata names.
        seeds: each style x object is sampled once with each of them.
        steps: of the scheduler.
        guidance: the guidance scale.
        styles, objects: restrict the grid to these.
        scheduler: what solves the equation from noise to picture.
        classifier: who judges.
        keeps_pictures: in the benchmark's layout, as JPEG, which is then what is judged.
    """

    concepts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = SEEDS
    steps: int | None = None
    guidance: float | None = None
    styles: tuple[str, ...] | None = None
    objects: tuple[str, ...] | None = None
    scheduler: Scheduler = DDIM
    classifier: str | None = None
    keeps_pictures: bool = False


@dataclass(frozen=True)
class EvaluationPlan:
    """An evaluation, ready to run.

    Args:
        pipeline: the model.
        classifier: who judges.
        targets: the concepts whose erasure is measured; none measures plain accuracy.
        settings: how pictures are made and judged.
        seeds: as the user gave them.
        cells: the pictures; their seeds are those of the noise.
    """

    pipeline: Pipeline
    classifier: Classifier
    targets: tuple[ErasedConcept, ...]
    settings: JudgingSettings
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]

    def document(self) -> dict[str, object]:
        """The plan as a JSON document."""
        return {
            "model": self.pipeline.name,
            "classifier": self.classifier.name,
            "targets": [asdict(target) for target in self.targets],
            "settings": asdict(self.settings),
            "seeds": list(self.seeds),
            "styles": list(dict.fromkeys(cell.style for cell in self.cells)),
            "objects": list(dict.fromkeys(cell.object for cell in self.cells)),
            "pictures_a_model": len(self.cells),
        }


def plan_evaluation(pipeline: Pipeline, request: Request, models: Path = MODELS) -> EvaluationPlan:
    """Spell out an evaluation.

    The noise of each cell is its own: see ``Grid.noise_seed``.

    Args:
        pipeline: the base or an erased model.
        request: what the user asks for.
        models: the workspace's folder of models, where classifiers lie.

    Returns:
        The plan.

    Raises:
        UsageError: a name is unknown to the classifier, or a number is out of range.
        InputError, IntegrityError: there is no classifier, or it is damaged.
    """
    classifier = find_classifier(pipeline, models, request.classifier)
    settings = _settings(pipeline, classifier, request)
    targets = _targets(pipeline, request.concepts, classifier.styles, classifier.objects)
    grid = plan_grid(
        classifier.styles, classifier.objects, request.styles, request.objects, "classifier"
    )
    for target in targets:
        if target.name not in (*grid.chosen_styles, *grid.chosen_objects):
            raise UsageError(
                f"the target {target.name} is not among the {target.kind}s to evaluate",
                f"add it to --{target.kind}s",
            )
    check_count(len(grid.chosen_styles) * len(grid.chosen_objects) * len(request.seeds))
    cells = tuple(
        Cell(style, name, grid.noise_seed(style, name, seed))
        for style in grid.chosen_styles
        for name in grid.chosen_objects
        for seed in request.seeds
    )
    return EvaluationPlan(pipeline, classifier, targets, settings, request.seeds, cells)


def _settings(pipeline: Pipeline, classifier: Classifier, request: Request) -> JudgingSettings:
    """What the user asks for, else what the classifier is used to."""
    recipe = classifier.recipe
    steps = recipe.steps if request.steps is None else request.steps
    guidance = recipe.guidance if request.guidance is None else request.guidance
    _check(request, steps, guidance)
    side = trained_size(pipeline)
    size = side if recipe.largest is None else min(side, recipe.largest)
    stored: Literal["jpeg"] | None = "jpeg" if request.keeps_pictures else None
    return JudgingSettings(classifier.digest(), steps, guidance, size, request.scheduler, stored)


def _check(request: Request, steps: int, guidance: float) -> None:
    most = most_steps(request.scheduler)
    if not 1 <= steps <= most:
        raise UsageError(f"--steps is {steps}", f"use 1 to {most}")
    if not 0 <= guidance < math.inf:
        raise UsageError(f"--guidance is {guidance}", "use a number of at least 0")
    check_seeds(request.seeds)


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
