"""One job from beginning to end: train, evaluate, attack. What is on disk already is used again."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from esdctl.attacks.asked import AttackRequest
from esdctl.attacks.budget import parse_budget
from esdctl.attacks.plan import plan_attacks
from esdctl.attacks.run import run_attacks
from esdctl.erasing.erase import erase
from esdctl.erasing.plan import ErasePlan, plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.erasing.run_folder import RunFolder
from esdctl.errors import InputError
from esdctl.evaluation.earlier import earlier_probe_of
from esdctl.evaluation.evaluate import Execution, evaluate
from esdctl.evaluation.evaluation_report import EvaluationReport
from esdctl.evaluation.metrics.attack_success import AttackResult
from esdctl.evaluation.plan import plan_evaluation
from esdctl.evaluation.probe import prober_of
from esdctl.evaluation.request import Request
from esdctl.models.devices import find_device
from esdctl.models.resolve import Pipeline, resolve_model
from esdctl.progress import Reporter
from esdctl.sampling.plan import parse_seeds
from esdctl.storage.digest import sha256_file
from esdctl.storage.workspace import Workspace
from esdctl.sweep.manifest import Attacks, Evaluation, Job
from esdctl.sweep.stop import Stop


@dataclass(frozen=True)
class Place:
    """Where jobs run.

    Args:
        workspace: with the model, and for what comes out.
        device: as ``--device`` takes it; None for the best one.
        command: for the record.
    """

    workspace: Workspace
    device: str | None
    command: tuple[str, ...]


def plan_job(job: Job, place: Place, reporter: Reporter) -> ErasePlan:
    """The erasure of a job.

    Raises:
        InputError: the base or a preset is not what the job was planned with.
        UsageError: its settings make no sense here.
    """
    flags: dict[str, object] = {
        "contact_sheet": False,
        **job.settings,
        "concept": job.concept,
        "model": job.base.name,
    }
    if place.device is not None:
        flags["devices"] = place.device
    request = EraseRequest(flags, preset=job.preset)
    plan = plan_erase(request, place.workspace, reporter)
    if plan.base_digest != job.base.sha256:
        raise InputError(
            f"{job.base.name} is another model than the one that {job.name} was planned with",
            "plan the sweep anew",
        )
    if plan.digest != job.settings_digest:
        raise InputError(
            f"the settings of {job.name} mean something else here than where it was planned",
            "use the same version of esdctl, or plan the sweep anew",
        )
    return plan


def run_job(job: Job, place: Place, reporter: Reporter, stop: Stop) -> dict[str, object]:
    """Do what is missing of a job.

    Returns:
        The result as a JSON document.

    Raises:
        Interrupted: ``stop`` said so; what is done so far is kept.
        EsdctlError: what went wrong.
    """
    if job.evaluate is not None:
        _check_unchanged(job.evaluate.protocol, job.evaluate.sha256)
    if job.attack is not None:
        _check_unchanged(job.attack.budget, job.attack.sha256)
    plan = plan_job(job, place, reporter)
    seconds: dict[str, float] = {}
    began = time.perf_counter()
    run = _trained(plan, place, reporter, stop)
    seconds["train"] = _since(began)
    pipeline = resolve_model(str(run.path), place.workspace, reporter=reporter)
    device = find_device(place.device)
    document: dict[str, object] = {
        "job": job.name,
        "concept": job.concept,
        "kind": job.kind,
        "cell": job.cell,
        "run": _below(run.path, place.workspace),
        "delta_sha256": sha256_file(run.delta),
        "delta_bytes": run.delta.stat().st_size,
        "steps": run.steps(),
        "training_seconds": run.training_seconds(),
    }
    if job.evaluate is not None:
        began = time.perf_counter()
        reports = _evaluated(pipeline, job.evaluate, place, device, reporter)
        document["figures"] = [_figures(report, place.workspace) for report in reports]
        seconds["evaluate"] = _since(began)
    if job.attack is not None:
        began = time.perf_counter()
        results = _attacked(pipeline, job.attack, place, device, reporter)
        document["attacks"] = [_attack(result) for result in results]
        seconds["attack"] = _since(began)
    return {**document, "seconds": seconds, "device": str(device)}


def _trained(plan: ErasePlan, place: Place, reporter: Reporter, stop: Stop) -> RunFolder:
    hardener = None
    if plan.config.harden:
        from esdctl.attacks.harden import hardener_of

        hardener = hardener_of(plan, place.workspace.models, reporter)
    prober = prober_of(plan, place.workspace.models)
    earlier = earlier_probe_of(plan, place.workspace.models, reporter)
    with stop.polled():
        return erase(plan, place.command, reporter, stop, prober, hardener, earlier=earlier)


def _evaluated(
    pipeline: Pipeline,
    evaluation: Evaluation,
    place: Place,
    device: torch.device,
    reporter: Reporter,
) -> list[EvaluationReport]:
    request = Request(
        protocol=evaluation.protocol,
        seeds=None if evaluation.seeds is None else parse_seeds(evaluation.seeds),
    )
    plan = plan_evaluation(pipeline, request, place.workspace.models)
    folder = place.workspace.outputs / "evaluations"
    return evaluate(plan, Execution(folder, device, "auto"), reporter)


def _attacked(
    pipeline: Pipeline, attack: Attacks, place: Place, device: torch.device, reporter: Reporter
) -> list[AttackResult]:
    plan = plan_attacks(
        pipeline,
        attack.methods,
        parse_budget(attack.budget),
        place.workspace.outputs / "attacks",
        place.workspace.models,
        AttackRequest(n=attack.n),
    )
    return run_attacks(plan, device, reporter, place.command)


def _check_unchanged(file: str | None, sha256: str | None) -> None:
    """Refuse a file that is another one than when the sweep was planned.

    Raises:
        InputError: it is gone, or its content differs.
    """
    if file is None or sha256 is None:
        return
    if not Path(file).is_file() or sha256_file(Path(file)) != sha256:
        raise InputError(
            f"{file} is not what it was when the sweep was planned",
            "bring it back, or plan the sweep anew",
        )


def _figures(report: EvaluationReport, workspace: Workspace) -> dict[str, object]:
    """UA of the erased model, IRA and CRA in percent of the base's, by target."""
    targets = {}
    for target in report.targets:
        unlearning = report.model.unlearning.get(target.name)
        retention = report.percent_of_base.get(target.name)
        targets[target.name] = {
            "kind": target.kind,
            "ua": _plain(unlearning and unlearning.ua),
            "ira": _plain(retention and retention.ira),
            "cra": _plain(retention and retention.cra),
        }
    return {
        "protocol": report.protocol_name,
        "judge": report.judge,
        "file": _below(Path(report.file), workspace),
        "targets": targets,
    }


def _attack(result: AttackResult) -> dict[str, object]:
    return {
        "attack": result.attack,
        "budget": result.budget,
        "concept": result.concept.name,
        "before": _plain(result.before_rate),
        "asr": _plain(result.asr),
        "seconds": result.seconds,
    }


def _plain(figure: object) -> dict[str, object] | None:
    return asdict(figure) if figure is not None else None  # type: ignore[call-overload]


def _below(path: Path, workspace: Workspace) -> str:
    """As the workspace sees it, so that it may move."""
    try:
        return str(path.resolve().relative_to(workspace.root.resolve()))
    except ValueError:
        return str(path)


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 2)
