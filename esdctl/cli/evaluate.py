"""``esdctl evaluate``: what an erasure took, and what it left, under a protocol."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from esdctl.cli.cell_options import (
    LAYOUT,
    LayoutOption,
    ObjectsOption,
    StylesOption,
    is_layout,
    names_in,
)
from esdctl.cli.estimates import tell_estimate
from esdctl.cli.evaluate_options import (
    BasePicturesOption,
    ConceptOption,
    FirstOption,
    GuidanceOption,
    JudgeOption,
    KeepOption,
    ListOption,
    MinCraOption,
    MinIraOption,
    MinUaOption,
    PicturesOption,
    PromptsOption,
    ProtocolOption,
    RunOption,
    SchedulerOption,
    SeedsOption,
    StagesOption,
    StepsOption,
)
from esdctl.cli.options import (
    BaseModelOption,
    BatchSizeOption,
    DeviceOption,
    DryRunOption,
    DtypeOption,
    EstimateOption,
    JsonOption,
    OutputOption,
    QuietOption,
    RootOption,
    SupplierOption,
)
from esdctl.cli.output import print_document, print_json, print_line, print_path
from esdctl.cli.terminal import reporting
from esdctl.errors import UsageError
from esdctl.storage.workspace import Workspace, find_workspace

if TYPE_CHECKING:
    from esdctl.evaluation.evaluate import Execution
    from esdctl.evaluation.evaluation_report import EvaluationReport
    from esdctl.evaluation.given_pictures import GivenPictures
    from esdctl.evaluation.plan import EvaluationPlan
    from esdctl.evaluation.request import Request
    from esdctl.models.resolve import Pipeline
    from esdctl.sampling.plan import BatchSize


def evaluate(
    model: RunOption = None,
    base: BaseModelOption = None,
    pipeline: SupplierOption = None,
    concept: ConceptOption = None,
    protocol: ProtocolOption = None,
    show_list: ListOption = False,
    seeds: SeedsOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    scheduler: SchedulerOption = None,
    batch_size: BatchSizeOption = None,
    styles: StylesOption = None,
    objects: ObjectsOption = None,
    prompts: PromptsOption = None,
    first: FirstOption = None,
    judge: JudgeOption = None,
    keep_pictures: KeepOption = False,
    stages: StagesOption = None,
    pictures: PicturesOption = None,
    base_pictures: BasePicturesOption = None,
    layout: LayoutOption = None,
    min_ua: MinUaOption = None,
    min_ira: MinIraOption = None,
    min_cra: MinCraOption = None,
    output: OutputOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
    estimate: EstimateOption = True,
) -> None:
    """Measure what an erasure took and left, beside the base.

    Samples the protocol's pictures from both models and lets the judges see them. Under `pocket`
    and `unlearn-canvas` that gives UA, IRA and CRA, under `i2p-...` detections, under `fidelity`
    distances from the base's pictures. Prints the path of the figures, or the figures with --json.
    Rows are kept in outputs/evaluations (or --output) and used again, the base's for every model
    that was erased from it.

    A model with a classifier of its own (pocket, and what is erased from it) is judged by that;
    any other by UnlearnCanvas's style50.pth and style50_cls.pth in models/classifiers. See
    `esdctl guide evaluation`.

    With --layout, the pictures are kept in outputs/unlearn-canvas (or --output) as the benchmark's
    scripts keep theirs, as JPEG, and are judged as they are stored.
    """
    began = time.perf_counter()
    if show_list:
        return _list(json)
    from esdctl.evaluation.thresholds import Thresholds, check_thresholds, check_thresholds_apply
    from esdctl.models.resolve import resolve_model
    from esdctl.sampling.plan import batch_size_for

    if model is None and pictures is None:
        raise UsageError("nothing to evaluate", "give --model, or --pictures FOLDER")
    workspace, has_layout = find_workspace(root), is_layout(layout)
    at_once = batch_size_for(batch_size, device)
    request = _request(
        concept or [], seeds, steps, guidance, styles, objects, scheduler, judge, has_layout
    )
    request = replace(request, protocol=protocol, prompts=prompts, first=first)
    with reporting(quiet) as reporter:
        name = model or "pocket"
        chosen = resolve_model(name, workspace, base=base, supplier=pipeline, reporter=reporter)
        plan, given = _plan(chosen, request, pictures, base_pictures, workspace)
    plan = _in_dtype(plan, dtype, device, bool(given))
    thresholds = Thresholds(min_ua, min_ira, min_cra)
    check_thresholds_apply(thresholds, plan, len(given) == 2 if given else None)
    folder = output or workspace.outputs / "evaluations"
    if dry_run:
        document = {"folder": str(folder), **plan.document()}
        if estimate and not given:
            document["estimate"] = _estimate(plan, folder, at_once, device, began, quiet)
        return print_document(document, json)
    kept = (output or workspace.outputs / LAYOUT) if has_layout else None
    execution = _execution(folder, device, at_once, stages, keep_pictures, kept, given)
    reports = _run(plan, execution, quiet)
    _tell(plan, execution, reports, json, quiet)
    for report in reports:
        check_thresholds(thresholds, report)


def _list(json: bool) -> None:
    from esdctl.evaluation.protocols.protocol import find_protocol, protocol_names

    protocols = [find_protocol(name) for name in protocol_names()]
    if json:
        return print_json([{**each.model_dump(), "digest": each.digest} for each in protocols])
    for each in protocols:
        print_line(f"{each.name}\tv{each.version}\t{','.join(each.judges)}\t{each.about}")
    return None


def _plan(
    pipeline: "Pipeline",
    request: "Request",
    pictures: Path | None,
    base_pictures: Path | None,
    workspace: Workspace,
) -> "tuple[EvaluationPlan, tuple[GivenPictures, ...]]":
    """The plan; and pictures that are there already, the model's before the base's."""
    from esdctl.evaluation.given_plan import plan_given, refuse_sampling_options
    from esdctl.evaluation.plan import plan_evaluation

    if pictures is None:
        if base_pictures is not None:
            raise UsageError("--base-pictures stands beside --pictures", "give both")
        return plan_evaluation(pipeline, request, workspace.models), ()
    refuse_sampling_options(request)
    plan = plan_evaluation(pipeline, request, workspace.models)
    plan, given, given_base = plan_given(plan, pictures, base_pictures)
    return plan, (given,) if given_base is None else (given, given_base)


def _in_dtype(
    plan: "EvaluationPlan", dtype: str | None, device: str | None, is_given: bool
) -> "EvaluationPlan":
    """The plan with what the U-Net computes in; pictures that are there are as they are."""
    from esdctl.models.precision import dtype_for

    if not is_given:
        return plan.in_dtype(dtype_for(dtype, device))
    if dtype is not None:
        raise UsageError(
            "--dtype says how pictures are made, and those of --pictures are there already",
            "leave one of the two out",
        )
    return plan


def _execution(
    folder: Path,
    device: str | None,
    batch_size: "BatchSize",
    stages: str | None,
    keeps_pictures: bool,
    layout: Path | None,
    given: "tuple[GivenPictures, ...]",
) -> "Execution":
    from esdctl.evaluation.evaluate import STAGES, Execution, parse_stages
    from esdctl.models.devices import find_device

    chosen = STAGES if stages is None else parse_stages(stages)
    if given and chosen == ("sample",):
        raise UsageError("--stages sample makes no sense with --pictures", "leave one of them out")
    return Execution(
        folder,
        find_device(device),
        batch_size,
        chosen,
        keeps_pictures or (chosen != STAGES and layout is None),
        layout,
        *given,
    )


def _run(plan: "EvaluationPlan", execution: "Execution", quiet: bool) -> "list[EvaluationReport]":
    from esdctl.evaluation.evaluate import evaluate as run_evaluation

    with reporting(quiet) as reporter:
        for note in (*plan.pipeline.files.architecture.notes, *plan.notes):
            reporter.notice(note)
        return run_evaluation(plan, execution, reporter)


def _tell(
    plan: "EvaluationPlan",
    execution: "Execution",
    reports: "list[EvaluationReport]",
    json: bool,
    quiet: bool,
) -> None:
    """Tables on stderr; on stdout the figures' files, or what an earlier last stage left."""
    from esdctl.cli.evaluate_tables import show_report
    from esdctl.evaluation.evaluate import results_of

    if not reports:
        for path in results_of(plan, execution):
            print_path(path)
        return None
    if not quiet:
        for report in reports:
            show_report(report)
    if json:
        documents = [report.document() for report in reports]
        return print_json(documents[0] if len(documents) == 1 else documents)
    for report in reports:
        print_path(Path(report.file))


def _estimate(
    plan: "EvaluationPlan",
    folder: Path,
    batch_size: "BatchSize",
    device: str | None,
    began: float,
    quiet: bool,
) -> dict[str, object]:
    from esdctl.models.devices import find_device
    from esdctl.timing.estimate import estimate_evaluation

    with reporting(quiet) as reporter:
        estimate = estimate_evaluation(plan, folder, batch_size, find_device(device), began)
        tell_estimate(estimate, reporter)
    return estimate.document()


def _request(
    concepts: list[str],
    seeds: str | None,
    steps: int | None,
    guidance: float | None,
    styles: str | None,
    objects: str | None,
    scheduler: str | None,
    judges: str | None,
    keeps_layout: bool,
) -> "Request":
    from esdctl.evaluation.request import Request
    from esdctl.sampling.plan import parse_seeds
    from esdctl.sampling.schedulers import parse_scheduler

    return Request(
        concepts=tuple(concepts),
        seeds=None if seeds is None else parse_seeds(seeds),
        steps=steps,
        guidance=guidance,
        styles=names_in("--styles", styles),
        objects=names_in("--objects", objects),
        scheduler=None if scheduler is None else parse_scheduler(scheduler),
        judges=names_in("--judge", judges) or (),
        keeps_layout=keeps_layout,
    )
