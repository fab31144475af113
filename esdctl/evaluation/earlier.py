"""Whether what was erased before is still gone, once more was erased: UA of each, on few pictures.

Erasing one concept may bring back another that went before it. The judge and the pictures are those
of ``--until``.
"""

import time
from pathlib import Path

from esdctl.erasing.erase import EarlierProbe
from esdctl.erasing.plan import ErasePlan
from esdctl.errors import InputError, UsageError
from esdctl.evaluation.plan import EvaluationPlan
from esdctl.evaluation.probe import AT_ONCE, plan_probe, without_target
from esdctl.models.cpu_cost import is_full_size
from esdctl.models.erased_concepts import erased_from
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.progress import Reporter

PICTURES = 10  # of each concept
MOST = 200  # of all concepts together, but two of each at least
TASK = "probe"


def earlier_probe_of(plan: ErasePlan, models: Path, reporter: Reporter) -> EarlierProbe | None:
    """What measures an erased model from which more is erased; None where nothing was, or no wish.

    Args:
        plan: of the erasure.
        models: the workspace's folder of models, where classifiers lie.
        reporter: told UA of each concept, or what does not judge it and which command does.

    Raises:
        IntegrityError: the classifier or a delta below is damaged.
    """
    if plan.pipeline.delta is None or plan.config.probe_earlier is False:
        return None
    now = [part.name for part in plan.concept.each]
    earlier = [name for name in erased_from(plan.pipeline) if name not in now]
    command = f"esdctl evaluate --model {plan.output}"
    if not earlier:
        text = (
            f"{plan.pipeline.name} names nothing else that was erased from it; to look: {command}"
        )
        return lambda model: reporter.notice(f"{text} --concept NAME")
    try:
        probes, unknown = _planned(plan, [*earlier, *now], models)
    except InputError as error:
        text = f"nothing judges what was erased before ({', '.join(earlier)}): {error.message}"
        return lambda model: reporter.notice(f"{text}; with a judge: {command} --judge NAME")

    def probe(model: StableDiffusion) -> dict[str, object] | None:
        is_slow = model.device.type == "cpu" and is_full_size(model.architecture.denoiser)
        if is_slow and plan.config.probe_earlier is None:
            reporter.notice(
                f"what was erased before ({', '.join(earlier)}) was not looked at, since a picture "
                f"takes a CPU minutes; {command} does, or --probe-earlier"
            )
            return None
        return _measured(probes, unknown, set(earlier), model, reporter)

    return probe


def _planned(
    plan: ErasePlan, names: list[str], models: Path
) -> tuple[dict[str, EvaluationPlan], dict[str, str]]:
    """The pictures of each concept, and why there are none of the others."""
    count = max(2, min(PICTURES, MOST // len(names)))
    probes, unknown = {}, {}
    for name in names:
        try:
            probes[name] = plan_probe(plan.pipeline, name, models, count)
        except UsageError as error:
            unknown[name] = error.message
    return probes, unknown


def _measured(
    probes: dict[str, EvaluationPlan],
    unknown: dict[str, str],
    earlier: set[str],
    model: StableDiffusion,
    reporter: Reporter,
) -> dict[str, object]:
    """UA of each concept, told and as a JSON document."""
    began = time.perf_counter()
    rows: list[dict[str, object]] = []
    judge = None
    if probes:
        first = next(iter(probes.values()))
        judge = first.classifiers[0].name
        classify = first.classifiers[0].load(model.device, reporter)
        reporter.started(TASK, sum(len(plan.cases) for plan in probes.values()), "pictures")
        done = 0
        for name, plan in probes.items():
            gone = 0
            for start in range(0, len(plan.cases), AT_ONCE):
                cases = plan.cases[start : start + AT_ONCE]
                gone += without_target(plan, model, classify, cases)
                done += len(cases)
                reporter.advanced(TASK, done)
            ua, pictures = round(100 * gone / len(plan.cases), 2), len(plan.cases)
            when = "before" if name in earlier else "now"
            rows.append({"concept": name, "erased": when, "ua": ua, "pictures": pictures})
        reporter.finished(TASK)
        model.drop("text_encoders", "vae")
    for row in rows:
        when = f"erased {row['erased']}"
        reporter.notice(
            f"{row['concept']} ({when}): UA {row['ua']:.0f} % on {row['pictures']} pictures"
        )
    for name, why in unknown.items():
        reporter.notice(f"{name} was not judged: {why}")
    seconds = round(time.perf_counter() - began, 2)
    return {"judge": judge, "concepts": rows, "not_judged": unknown, "seconds": seconds}
