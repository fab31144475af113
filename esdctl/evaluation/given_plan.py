"""An evaluation of pictures that another program made, in place of sampling them."""

from dataclasses import replace
from pathlib import Path

from esdctl.errors import InputError, UsageError
from esdctl.evaluation.cases import Case
from esdctl.evaluation.given_pictures import GivenPictures, free_cases, given_pictures, named_cases
from esdctl.evaluation.judgements import JudgingSettings
from esdctl.evaluation.plan import EvaluationPlan
from esdctl.evaluation.request import Request


def refuse_sampling_options(request: Request) -> None:
    """Refuse what says how pictures are made, where they are there already.

    Raises:
        UsageError: names the first such option.
    """
    for name in ("seeds", "steps", "guidance", "scheduler", "prompts", "first"):
        if getattr(request, name) is not None:
            raise UsageError(
                f"--{name} says how pictures are made, and those of --pictures are there already",
                "leave one of the two out",
            )


def plan_given(
    plan: EvaluationPlan, folder: Path, base_folder: Path | None
) -> tuple[EvaluationPlan, GivenPictures, GivenPictures | None]:
    """The plan for pictures of a folder, and perhaps of the base's beside it.

    Args:
        plan: gives judges, targets, and the names to evaluate.
        folder: the model's pictures.
        base_folder: the base's; those that both folders have are compared.

    Raises:
        InputError: a folder is missing or empty, nothing tells what a picture shows, or the two
            have no picture in common.
    """
    given = given_pictures(folder)
    cases = _cases(plan, given)
    changes = {**plan.changes, "pictures": given.name}
    base = None if base_folder is None else given_pictures(base_folder)
    notes: tuple[str, ...] = ()
    if base is not None:
        known = {case.key: case for case in _cases(plan, base)}
        both = tuple(case for case in cases if case.key in known)
        if not both:
            raise InputError(
                f"{folder} and {base_folder} have no picture in common",
                "pictures of one prompt, seed and size are compared",
            )
        if len(both) < len(cases) or len(both) < len(known):
            notes = (f"{len(both)} of {len(cases)} and {len(known)} pictures are in both folders",)
        # A picture of the base may have another file name: rows are told by prompt and seed.
        base = base.renamed({case.picture.file: known[case.key].picture.file for case in both})
        cases = both
    settings = JudgingSettings(plan.settings.classifier, None, None, None, stored="given")
    planned = replace(plan, cases=cases, settings=settings, seeds=(), changes=changes, notes=notes)
    return planned, given, base


def _cases(plan: EvaluationPlan, given: GivenPictures) -> tuple[Case, ...]:
    if plan.detectors:
        return free_cases(given.folder)
    first = plan.classifiers[0]
    wordings = plan.protocol.grid.wordings if plan.protocol.grid else ()
    styles = {case.style for case in plan.cases}
    objects = {case.object for case in plan.cases}
    cases = tuple(
        case
        for case in named_cases(given.folder, first.styles, first.objects, wordings)
        if not plan.cases or (case.style in styles and case.object in objects)
    )
    if not cases:
        raise InputError(f"{given.folder} holds no picture of the styles and objects to evaluate")
    return cases
