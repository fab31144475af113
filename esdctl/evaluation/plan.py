"""What to evaluate: a model, its target, and styles x objects x seeds spelt out as cells."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path

from safetensors import safe_open

from esdctl.checkpoints.delta import read_delta_metadata
from esdctl.datasets.prompts import MAX_SEED
from esdctl.errors import InputError, UsageError
from esdctl.evaluation.accuracy import Target
from esdctl.evaluation.predictions import Cell, Settings
from esdctl.models.resolve import Pipeline
from esdctl.sampling.plan import (
    DDIM,
    DEFAULT_SEED,
    DEFAULT_STEPS,
    POCKET_GUIDANCE,
    Scheduler,
    most_steps,
    trained_size,
)
from esdctl.storage.digest import sha256_file

# The pocket model's quality figures are measured with these; base and erased always share them.
STEPS = DEFAULT_STEPS
GUIDANCE = POCKET_GUIDANCE
SEEDS = (DEFAULT_SEED,)

CLASSIFIER = Path("classifier") / "model.safetensors"  # in a pipeline folder
CELLS_A_SEED = 10_000  # a classifier has fewer styles x objects


@dataclass(frozen=True)
class Request:
    """What the user asks for; None leaves it to the model or the classifier.

    Args:
        concept: the target; else the one that the model's delta names.
        seeds: each style x object is sampled once with each of them.
        steps: of the scheduler.
        guidance: the guidance scale.
        styles, objects: restrict the grid to these.
        scheduler: what solves the equation from noise to picture.
    """

    concept: str | None = None
    seeds: tuple[int, ...] = SEEDS
    steps: int = STEPS
    guidance: float = GUIDANCE
    styles: tuple[str, ...] | None = None
    objects: tuple[str, ...] | None = None
    scheduler: Scheduler = DDIM


@dataclass(frozen=True)
class EvaluationPlan:
    """An evaluation, ready to run.

    Args:
        pipeline: the model.
        target: the concept whose erasure is measured; None measures plain accuracy.
        settings: how pictures are made and judged.
        seeds: as the user gave them.
        cells: the pictures; their seeds are those of the noise.
    """

    pipeline: Pipeline
    target: Target | None
    settings: Settings
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]

    @property
    def classifier(self) -> Path:
        return self.pipeline.folder / CLASSIFIER

    def document(self) -> dict[str, object]:
        """The plan as a JSON document."""
        return {
            "model": self.pipeline.name,
            "target": asdict(self.target) if self.target else None,
            "settings": asdict(self.settings),
            "seeds": list(self.seeds),
            "styles": list(dict.fromkeys(cell.style for cell in self.cells)),
            "objects": list(dict.fromkeys(cell.object for cell in self.cells)),
            "pictures_a_model": len(self.cells),
        }


def plan_evaluation(pipeline: Pipeline, request: Request) -> EvaluationPlan:
    """Spell out an evaluation.

    The noise of a picture has the seed ``10000 seed + cell``, where ``cell`` counts styles x
    objects in the classifier's order, so that no two pictures of an evaluation share their noise,
    and a restricted grid holds the same pictures as the whole one.

    Args:
        pipeline: the base or an erased model.
        request: what the user asks for.

    Returns:
        The plan.

    Raises:
        UsageError: a name is unknown to the classifier, or a number is out of range.
        InputError: the model has no classifier, or it is damaged.
    """
    _check(request)
    path = pipeline.folder / CLASSIFIER
    styles, objects = _class_names(path, pipeline.name)
    target = _target(pipeline, request.concept, styles, objects)
    chosen_styles = _chosen(request.styles, styles, "style")
    chosen_objects = _chosen(request.objects, objects, "object")
    if target is not None and target.name not in (*chosen_styles, *chosen_objects):
        raise UsageError(
            f"the target {target.name} is not among the {target.kind}s to evaluate",
            f"add it to --{target.kind}s",
        )
    cells = tuple(
        Cell(
            style,
            name,
            seed * CELLS_A_SEED + styles.index(style) * len(objects) + objects.index(name),
        )
        for style in chosen_styles
        for name in chosen_objects
        for seed in request.seeds
    )
    settings = Settings(
        sha256_file(path),
        request.steps,
        request.guidance,
        trained_size(pipeline),
        request.scheduler,
    )
    return EvaluationPlan(pipeline, target, settings, request.seeds, cells)


def _check(request: Request) -> None:
    most = most_steps(request.scheduler)
    if not 1 <= request.steps <= most:
        raise UsageError(f"--steps is {request.steps}", f"use 1 to {most}")
    if not 0 <= request.guidance < math.inf:
        raise UsageError(f"--guidance is {request.guidance}", "use a number of at least 0")
    largest = MAX_SEED // CELLS_A_SEED - 1
    if not request.seeds or not all(0 <= seed <= largest for seed in request.seeds):
        raise UsageError("--seeds: a seed is out of range", f"use 0 to {largest}")


def _class_names(path: Path, model: str) -> tuple[list[str], list[str]]:
    """The classifier's styles and objects in the order of its logits, without its weights."""
    if not path.is_file():
        raise InputError(
            f"{model} has no classifier ({path})", "evaluate a model that was erased from pocket"
        )
    try:
        with safe_open(path, framework="pt") as file:
            names = file.metadata() or {}
        return json.loads(names["styles"]), json.loads(names["objects"])
    except Exception as error:  # safetensors raises its own kinds, and OSError
        raise InputError(
            f"cannot read the classifier {path}: {error}", "install esdctl again"
        ) from error


def _target(
    pipeline: Pipeline, concept: str | None, styles: Sequence[str], objects: Sequence[str]
) -> Target | None:
    """The concept that the user names, else the one that the delta does; a base has none."""
    if concept is None and pipeline.delta is not None:
        concept = read_delta_metadata(pipeline.delta).get("concept")
        if not concept:
            raise UsageError(
                f"{pipeline.delta} does not say what was erased", "name it with --concept"
            )
    if concept is None:
        return None
    name = _known(concept, [*styles, *objects], "concept")
    return Target("style" if name in styles else "object", name)


def _chosen(wanted: Sequence[str] | None, names: Sequence[str], kind: str) -> list[str]:
    """The wanted names in the classifier's spelling and order; all of them where none is wanted."""
    if wanted is None:
        return list(names)
    chosen = {_known(name, names, kind) for name in wanted}
    return [name for name in names if name in chosen]


def _known(wanted: str, names: Sequence[str], kind: str) -> str:
    """The classifier's spelling of a name; ``neon lines`` means ``Neon_Lines``."""
    by_key = {_key(name): name for name in names}
    if _key(wanted) in by_key:
        return by_key[_key(wanted)]
    near = [by_key[key] for key in get_close_matches(_key(wanted), by_key, n=3, cutoff=0.5)]
    hint = f"nearest known: {', '.join(near)}" if near else f"known: {', '.join(names)}"
    raise UsageError(f"the classifier knows no {kind} {wanted!r}", hint)


def _key(name: str) -> str:
    return "_".join(name.replace("_", " ").split()).casefold()
