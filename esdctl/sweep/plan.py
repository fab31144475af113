"""From concepts and a grid of settings to jobs."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from esdctl.erasing.concept_file import Row
from esdctl.erasing.concepts import FULL_SIZE, read_catalogue
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.plan import ErasePlan, plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.errors import UsageError
from esdctl.names import did_you_mean
from esdctl.progress import Reporter
from esdctl.settings.setting import setting_of
from esdctl.settings.settings_file import find_settings_file
from esdctl.storage.workspace import Workspace
from esdctl.sweep.manifest import Attacks, Base, Evaluation, Job

_PLANNED = "concept", "model"  # what a sweep says by options of its own


@dataclass(frozen=True)
class SweepRequest:
    """What a sweep is asked for.

    Args:
        concepts: what is erased, one a job: its name, and what it has of its own of ``template``,
            ``prompt`` and ``erase_from``.
        grid: setting -> its values; every combination is a job of each concept.
        settings: of all jobs.
        model, preset: of all jobs; None as in ``esdctl train``.
        evaluate, attack: of all jobs; None leaves the stage out.
    """

    concepts: tuple[Row, ...]
    grid: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    preset: str | None = None
    evaluate: Evaluation | None = field(default_factory=Evaluation)
    attack: Attacks | None = None


def plan_jobs(request: SweepRequest, workspace: Workspace, reporter: Reporter) -> Iterator[Job]:
    """The jobs of a sweep, concept by concept.

    Raises:
        UsageError: a setting or a concept makes no sense.
        InputError: the model is missing.
    """
    cells = [
        dict(zip(request.grid, values, strict=True))
        for values in itertools.product(*request.grid.values())
    ]
    reporter.started("planning", len(request.concepts) * len(cells), "jobs")
    done = 0
    for concept in request.concepts:
        for cell in cells:
            yield _job(request, concept, cell, workspace, reporter)
            done += 1
            reporter.advanced("planning", done)
    reporter.finished("planning")


def plan_first(request: SweepRequest, workspace: Workspace, reporter: Reporter) -> ErasePlan:
    """The erasure of the first job."""
    cell = {name: values[0] for name, values in request.grid.items()}
    return _erasure(request, request.concepts[0], cell, workspace, reporter)


def _job(
    request: SweepRequest,
    concept: Row,
    cell: Mapping[str, str],
    workspace: Workspace,
    reporter: Reporter,
) -> Job:
    plan = _erasure(request, concept, cell, workspace, reporter)
    values = plan.config.model_dump(mode="json")
    given = {
        name: values[name]
        for name, origin in plan.origins.items()
        if not origin.startswith(("default", "preset", "concept ", "model "))
        and name not in _PLANNED
        and setting_of(TrainConfig, name).decides != "nothing"
    }
    return Job(
        base=Base(plan.pipeline.name, plan.base_digest),
        concept=plan.concept.name,
        kind=plan.concept.template,
        settings=given,
        preset=plan.preset.name,
        settings_digest=plan.digest,
        cell={name: values[name] for name in cell},
        evaluate=request.evaluate,
        attack=request.attack,
    )


def _erasure(
    request: SweepRequest,
    concept: Row,
    cell: Mapping[str, str],
    workspace: Workspace,
    reporter: Reporter,
) -> ErasePlan:
    flags: dict[str, object] = {**request.settings, **cell, **concept}
    flags["concept"] = flags.pop("name")
    if request.model is not None:
        flags["model"] = request.model
    asked = EraseRequest(
        flags,
        os.environ,
        workspace_file=find_settings_file(workspace.root),
        preset=request.preset,
    )
    return plan_erase(asked, workspace, reporter)


def parse_grid(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read ``lr=1e-5,5e-5``, as often as there are settings to vary.

    Raises:
        UsageError: there is no such setting, it stands twice, or a sweep cannot vary it.
    """
    grid: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, values = _assignment("--grid", text)
        if name in grid:
            raise UsageError(f"--grid names {name} twice", "give all its values at once")
        found = tuple(value.strip() for value in values.split(","))
        if len(set(found)) < len(found):
            raise UsageError(f"--grid {text} names a value twice", "keep one of them")
        grid[name] = found
    return grid


def parse_settings(texts: Sequence[str]) -> dict[str, str]:
    """Read ``iterations=100``, as often as there are settings.

    Raises:
        UsageError: as ``parse_grid``.
    """
    settings: dict[str, str] = {}
    for text in texts:
        name, value = _assignment("--set", text)
        if name in settings:
            raise UsageError(f"--set names {name} twice", "keep one of them")
        settings[name] = value
    return settings


def _assignment(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if not (equals and value.strip()):
        raise UsageError(f"{option} is {text!r}", f"write {option} lr=1e-5")
    if name in _PLANNED:
        raise UsageError(f"{option} cannot set {name}", f"use --{name}")
    if name not in TrainConfig.model_fields:
        raise UsageError(
            f"{option}: there is no setting {name}", did_you_mean(name, TrainConfig.model_fields)
        )
    if setting_of(TrainConfig, name).decides == "nothing":
        raise UsageError(
            f"{option}: {name} changes no result", "say where a sweep runs to esdctl sweep run"
        )
    return name, value.strip()


def known_concepts(folder: Path, all_styles: bool, all_objects: bool) -> tuple[str, ...]:
    """The names that a model knows, else UnlearnCanvas's.

    Args:
        folder: of the model.
        all_styles, all_objects: which of them.
    """
    catalogue = read_catalogue(folder) or FULL_SIZE
    return (
        *(catalogue.styles if all_styles else ()),
        *(catalogue.objects if all_objects else ()),
    )
