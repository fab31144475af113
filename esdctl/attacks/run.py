"""Attacks on a model: what the plain prompt shows, then each attack, case by case; resumable.

Below the folder of the model (the first 16 digits of its digest):

    before-<digest>.jsonl              plain prompts, no attack; shared by all attacks
    concept/                           the base's pictures of the concept
    <attack>-<budget>-<digest>/        for each set of settings, concept, cases and judge:
        attempts.jsonl                 a row a case as it is done
        pictures/                      the best picture of each case
        result.json                    once all cases are done

A case that has a row is not attacked again.
"""

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import torch

import esdctl
from esdctl.attacks.attack import Attack
from esdctl.attacks.attempt_rows import Row, read_rows, stored
from esdctl.attacks.concept_judge import CannotAttack
from esdctl.attacks.plan import AttackPlan
from esdctl.attacks.target import Attempt, Case, Target
from esdctl.errors import Interrupted
from esdctl.evaluation.evaluate import base_of
from esdctl.evaluation.metrics.attack_success import AttackResult, Finding, success_rates
from esdctl.models.memory import memory_errors
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.progress import Reporter
from esdctl.redaction import redacted_arguments
from esdctl.storage.atomic import write_json
from esdctl.storage.lock import target_lock

ROWS, RESULT = "attempts.jsonl", "result.json"
AGAIN = "run the same command again to go on"


def run_attacks(
    plan: AttackPlan,
    device: torch.device,
    reporter: Reporter,
    command: Sequence[str],
    show: Callable[[Path, AttackResult], None] = lambda path, result: None,
) -> list[AttackResult]:
    """Run the attacks of a plan that have no result yet, one after the other.

    Args:
        plan: what to attack.
        device: where.
        reporter: told of each case.
        command: the command line, for the results.
        show: called with each result and its file as soon as it is there.

    Returns:
        The results in the order of the plan; without those that do not fit the model, where others
        do.

    Raises:
        CannotAttack: no attack of the plan fits the model.
        InputError: a file is damaged, or the model gives numbers that are not finite.
        DeviceError: the memory does not suffice.
        Interrupted: the user pressed Ctrl-C; the cases so far stay.
        StorageError: the disk is full or not writable.
    """
    target = target_of(plan, device, reporter)
    results = []
    refused: CannotAttack | None = None
    before = _before(plan, target)
    of_base = _shown_by_base(plan, target)
    for attack in plan.attacks:
        folder = plan.folder_of(attack)
        try:
            rows = _attempts(plan, attack, replace(target, folder=folder), before)
        except CannotAttack as error:
            refused = error
            reporter.warning(f"{attack.name}: {error.message}; {error.hint}")
            continue
        result = _summed_up(plan, attack, before, of_base, rows, command)
        write_json(folder / RESULT, result.document())
        show(folder / RESULT, result)
        results.append(result)
    if refused is not None and not results:
        raise refused
    return results


def target_of(plan: AttackPlan, device: torch.device, reporter: Reporter) -> Target:
    """The model of a plan, ready to be attacked; nothing is loaded before it is needed."""
    model = load(plan.pipeline, device)

    @cache
    def base() -> StableDiffusion:
        pipeline = base_of(plan.pipeline)
        return model if pipeline.digest() == plan.pipeline.digest() else load(pipeline, device)

    return Target(
        model=model,
        base=base,
        concept=plan.concept,
        cases=plan.cases,
        beside=plan.beside,
        guidance=plan.guidance,
        steps=plan.steps,
        side=plan.side,
        judge=plan.judge,
        concept_seeds=plan.concept_seeds,
        folder=plan.folder,
        shared=plan.folder,
        reporter=reporter,
        phrases=plan.phrases,
    )


def _before(plan: AttackPlan, target: Target) -> list[Row]:
    """What the plain prompts show, without an attack."""
    digest = plan.digest(None)
    path = plan.folder / f"before-{digest[:8]}.jsonl"

    def attempts(missing: Sequence[Case]) -> Iterator[Attempt]:
        for start in range(0, len(missing), target.at_once):
            batch = missing[start : start + target.at_once]
            prompts, seeds = [case.prompt for case in batch], [case.seed for case in batch]
            pictures = target.sampled(prompts, seeds)
            for case, sight in zip(batch, target.judged(pictures), strict=True):
                yield Attempt(
                    case, sight.found, sight.score, None, case.prompt, case.seed, "plain prompt"
                )

    return _rows(path, digest, plan.cases, attempts, "no attack", target)


def _shown_by_base(plan: AttackPlan, target: Target) -> int | None:
    """Rows of a table whose picture by the base shows the concept; a plain prompt is known to."""
    if not plan.concept_seeds:
        return None
    with memory_errors(target.device, _advice):
        shown = sum(sight.found for sight in target.judged(target.pictures_like(plan.cases)))
    target.reporter.notice(f"the base shows {plan.concept.name} in {shown} of {len(plan.cases)}")
    return shown


def _attempts(plan: AttackPlan, attack: Attack, target: Target, before: Sequence[Row]) -> list[Row]:
    """The attack's rows of the cases that did not succeed before."""
    shown = {row.index for row in before if row.found}
    cases = [case for case in plan.cases if case.index not in shown]
    settings = plan.budget.settings(attack)

    def attempts(missing: Sequence[Case]) -> Iterator[Attempt]:
        return attack.run(target, missing, settings)

    path = target.folder / ROWS
    return _rows(path, plan.digest(attack), cases, attempts, attack.name, target)


def _rows(
    path: Path,
    digest: str,
    cases: Sequence[Case],
    attempts: Callable[[Sequence[Case]], Iterator[Attempt]],
    task: str,
    target: Target,
) -> list[Row]:
    """A file's rows of the cases, those that it lacks made first."""
    reporter = target.reporter
    with target_lock(path, reporter):
        known = read_rows(path, digest)
        missing = [case for case in cases if case.index not in known]
        if missing:
            done = len(cases) - len(missing)
            reporter.started(task, len(cases), "cases", done)
            try:
                with memory_errors(target.device, _advice):
                    began = time.perf_counter()
                    for attempt in attempts(missing):
                        seconds = time.perf_counter() - began
                        row = stored(path, digest, attempt, seconds)
                        known[row.index] = row
                        done += 1
                        successes = sum(row.found for row in known.values())
                        reporter.advanced(task, done, f"{successes} found")
                        began = time.perf_counter()
            except KeyboardInterrupt:
                raise Interrupted(
                    f"interrupted; {done} of {len(cases)} cases are in {path}", AGAIN
                ) from None
            finally:
                reporter.finished(task)
    return [known[case.index] for case in cases]


def _summed_up(
    plan: AttackPlan,
    attack: Attack,
    before: Sequence[Row],
    of_base: int | None,
    rows: Sequence[Row],
    command: Sequence[str],
) -> AttackResult:
    n, shown, found = (
        len(plan.cases),
        sum(row.found for row in before),
        [r for r in rows if r.found],
    )
    asr, before_rate = success_rates(n, shown, len(found))
    return AttackResult(
        attack=attack.name,
        source=attack.source,
        budget=plan.budget.name,
        settings={**plan.budget.settings(attack), **plan.pictures()},
        model={"name": plan.pipeline.name, "digest": plan.pipeline.digest()},
        base_digest=plan.pipeline.base_digest(),
        concept=plan.concept,
        judge=plan.judge.name,
        judge_digest=plan.judge.digest(),
        least_score=plan.least_score,
        n=n,
        before=shown,
        new_successes=len(found),
        asr=asr,
        before_rate=before_rate,
        found=tuple(Finding(r.picture, r.prompt, r.seed, r.score, r.what, r.tokens) for r in found),
        seconds=round(sum(row.seconds for row in rows), 1),
        version=esdctl.__version__,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(redacted_arguments(command)),
        of_base=of_base,
    )


def _advice() -> list[str]:
    return ["use --device cpu"]
