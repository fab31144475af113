"""A probe of a model in training: a few pictures of the target, judged as they are made.

Early in a training nearly every picture still shows the target, so the first few answer; only a
model that passes costs all of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from esdctl.erasing.erase import Prober
from esdctl.erasing.plan import ErasePlan
from esdctl.erasing.until import Probe, Probed
from esdctl.errors import UsageError
from esdctl.evaluation.cases import Case
from esdctl.evaluation.judges.judge import Classify
from esdctl.evaluation.judging import classified
from esdctl.evaluation.plan import MODELS, EvaluationPlan, plan_evaluation
from esdctl.evaluation.request import Request
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.progress import Silent
from esdctl.sampling.sample import sample

PICTURES = 20  # 19 of them are 95 %
AT_ONCE = 5
SEEDS = (1, 2)  # an evaluation's default is 188, so no picture is used for both


def prober_of(plan: ErasePlan, models: Path) -> Prober | None:
    """What measures a model in training; None where it trains for a number of steps.

    Args:
        plan: of the erasure.
        models: the workspace's folder of models, where classifiers lie.

    Raises:
        UsageError, InputError, IntegrityError: as ``plan_probe``.
    """
    if plan.config.until is None:
        return None
    pictures = plan_probe(plan.pipeline, plan.concept.name, models)
    return lambda model: new_probe(pictures, model)


def plan_probe(
    pipeline: Pipeline, concept: str, models: Path = MODELS, pictures: int = PICTURES
) -> EvaluationPlan:
    """The target's pictures, spread evenly over what they show beside it.

    Args:
        pipeline: the base model.
        concept: what is erased.
        models: the workspace's folder of models, where classifiers lie.
        pictures: so many at most.

    Raises:
        UsageError: the classifier does not know the concept.
        InputError, IntegrityError: there is no classifier, or it is damaged.
    """
    everything = plan_evaluation(pipeline, Request((concept,) if concept else (), SEEDS), models)
    if not everything.targets:
        raise UsageError(f"{pipeline.name} has no concept to probe", "name it with --concept")
    target = everything.targets[0]
    cases = [case for case in everything.cases if target.name in (case.style, case.object)]
    count = min(pictures, len(cases))
    steps = everything.protocol.probe_steps or everything.protocol.sampling.steps
    chosen = tuple(
        replace(case, picture=replace(case.picture, steps=steps, file=str(index)))
        for index, case in enumerate(cases[i * len(cases) // count] for i in range(count))
    )
    return replace(everything, settings=replace(everything.settings, steps=steps), cases=chosen)


def new_probe(plan: EvaluationPlan, model: StableDiffusion) -> Probe:
    """What measures UA of a model as its U-Net is at that moment.

    Args:
        plan: the pictures and the classifier.
        model: the one in training; text encoders and VAE leave its device again after each probe,
            the classifier stays.
    """
    loaded: list[Classify] = []

    def probe(least: float) -> Probed:
        if not loaded:
            loaded.append(plan.classifiers[0].load(model.device, Silent()))
        classify = loaded[0]
        gone = seen = 0
        wanted = least / 100 * len(plan.cases) - 1e-9
        while seen < len(plan.cases):
            cases = plan.cases[seen : seen + AT_ONCE]
            gone += without_target(plan, model, classify, cases)
            seen += len(cases)
            if gone + len(plan.cases) - seen < wanted:
                break  # it cannot be reached any more
        model.drop("text_encoders", "vae")
        return Probed(100 * gone / seen, seen, gone >= wanted)

    return probe


@torch.inference_mode()
def without_target(
    plan: EvaluationPlan,
    model: StableDiffusion,
    classify: Classify,
    cases: Sequence[Case],
) -> int:
    """How many pictures are not taken for the target.

    Args:
        plan: names the target.
        model: makes the pictures, with its U-Net as it is at that moment.
        classify: the classifier.
        cases: the pictures; some of the plan's.
    """
    kind, name = plan.targets[0].kind, plan.targets[0].name
    pictures = [case.picture for case in cases]
    made = [pixels for batch in sample(model, pictures, AT_ONCE) for _, pixels in batch]
    return sum(row.predicted(kind) != name for row in classified(classify, cases, made))
