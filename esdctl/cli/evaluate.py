"""``esdctl evaluate``: what an erasure took, and what it left, as the classifier sees it."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.cell_options import (
    LAYOUT,
    LayoutOption,
    ObjectsOption,
    StylesOption,
    is_layout,
    names_in,
)
from esdctl.cli.estimates import tell_estimate
from esdctl.cli.options import (
    BaseModelOption,
    BatchSizeOption,
    DeviceOption,
    DryRunOption,
    EstimateOption,
    JsonOption,
    OutputOption,
    QuietOption,
    RootOption,
    SchedulerOption,
)
from esdctl.cli.output import print_document, print_json, print_path
from esdctl.cli.terminal import reporting, show_table
from esdctl.storage.workspace import find_workspace

if TYPE_CHECKING:
    from esdctl.evaluation.evaluate import EvaluationReport
    from esdctl.evaluation.metrics.intervals import Percent
    from esdctl.evaluation.plan import EvaluationPlan, Request
    from esdctl.sampling.plan import BatchSize


RunOption = Annotated[
    str, typer.Option("--model", metavar="RUN|NAME|PATH", help="An erased model, or a base.")
]
ConceptOption = Annotated[
    list[str] | None,
    typer.Option(
        "--concept", help="A target, repeatable; else all that were erased from the model."
    ),
]
SeedsOption = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        metavar="LIST",
        help="188,288 or 0-9; a picture a cell each. Default 188; UnlearnCanvas runs "
        "188,288,588,688,888.",
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option("--steps", help="Of the scheduler, 1 to 1000. Default 25; 100 under style50."),
]
GuidanceOption = Annotated[
    float | None, typer.Option("--guidance", help="Guidance scale. Default 3; 9 under style50.")
]
ClassifierOption = Annotated[
    str | None,
    typer.Option(
        "--classifier",
        metavar="pocket|style50",
        help="Who judges: the model's own, else UnlearnCanvas's in models/classifiers.",
    ),
]
MinUaOption = Annotated[
    float | None, typer.Option("--min-ua", help="Exit 1 if UA, in percent, is below.")
]
MinIraOption = Annotated[
    float | None,
    typer.Option("--min-ira", help="Exit 1 if IRA, in percent of the base's, is below."),
]
MinCraOption = Annotated[
    float | None,
    typer.Option("--min-cra", help="Exit 1 if CRA, in percent of the base's, is below."),
]


def evaluate(
    model: RunOption,
    base: BaseModelOption = None,
    concept: ConceptOption = None,
    seeds: SeedsOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = None,
    scheduler: SchedulerOption = "ddim",
    batch_size: BatchSizeOption = "8",
    styles: StylesOption = None,
    objects: ObjectsOption = None,
    classifier: ClassifierOption = None,
    layout: LayoutOption = None,
    min_ua: MinUaOption = None,
    min_ira: MinIraOption = None,
    min_cra: MinCraOption = None,
    output: OutputOption = None,
    device: DeviceOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
    estimate: EstimateOption = True,
) -> None:
    """Measure UA, IRA and CRA of an erased model beside its base.

    Samples styles x objects with "A {object} image in {style} style." from both, and classifies
    the pictures. Prints the path of the erased model's predictions, or the report with --json.
    Predictions are kept in outputs/evaluations (or --output) and used again, the base's for every
    model that was erased from it.

    A model with a classifier of its own (pocket, and what is erased from it) is judged by that;
    any other by UnlearnCanvas's style50.pth and style50_cls.pth in models/classifiers, with 100
    steps, guidance 9 and 512 pixels: 1,020 pictures a seed.

    With --layout, the pictures are kept in outputs/unlearn-canvas (or --output) as the benchmark's
    scripts keep theirs, as JPEG, and are judged as they are stored.
    """
    began = time.perf_counter()
    from esdctl.evaluation.evaluate import evaluate as run_evaluation
    from esdctl.evaluation.plan import plan_evaluation
    from esdctl.evaluation.thresholds import Thresholds, check_thresholds, check_thresholds_apply
    from esdctl.models.devices import find_device
    from esdctl.models.resolve import resolve_model
    from esdctl.sampling.plan import parse_batch_size

    workspace = find_workspace(root)
    has_layout = is_layout(layout)
    request = _request(
        concept or [], seeds, steps, guidance, styles, objects, scheduler, classifier, has_layout
    )
    at_once = parse_batch_size(batch_size)
    with reporting(quiet) as reporter:
        pipeline = resolve_model(model, workspace, base=base, reporter=reporter)
        plan = plan_evaluation(pipeline, request, workspace.models)
    thresholds = Thresholds(min_ua, min_ira, min_cra)
    check_thresholds_apply(thresholds, plan)
    folder = output or workspace.outputs / "evaluations"
    if dry_run:
        document = {"folder": str(folder), **plan.document()}
        if estimate:
            document["estimate"] = _estimate(plan, folder, at_once, device, began, quiet)
        return print_document(document, json)
    with reporting(quiet) as reporter:
        for note in pipeline.files.architecture.notes:
            reporter.notice(note)
        pictures = (output or workspace.outputs / LAYOUT) if has_layout else None
        report = run_evaluation(plan, folder, find_device(device), at_once, reporter, pictures)
    _tell(report, json, quiet)
    check_thresholds(thresholds, report)


def _tell(report: "EvaluationReport", json: bool, quiet: bool) -> None:
    if not quiet:
        _show(report)
    if json:
        return print_json(report.document())
    return print_path(Path(report.model.predictions))


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
    scheduler: str,
    classifier: str | None,
    keeps_pictures: bool,
) -> "Request":
    from esdctl.evaluation import plan
    from esdctl.evaluation.judges.find import parse_classifier
    from esdctl.sampling.plan import parse_scheduler, parse_seeds

    return plan.Request(
        concepts=tuple(concepts),
        seeds=plan.SEEDS if seeds is None else parse_seeds(seeds),
        steps=steps,
        guidance=guidance,
        styles=names_in("--styles", styles),
        objects=names_in("--objects", objects),
        scheduler=parse_scheduler(scheduler),
        classifier=None if classifier is None else parse_classifier(classifier),
        keeps_pictures=keeps_pictures,
    )


def _show(report: "EvaluationReport") -> None:
    """Tables on stderr: the figures of the target, or accuracy by concept where there is none."""
    settings = report.settings
    named = "DDIM" if settings.scheduler == "ddim" else settings.scheduler
    protocol = (
        f"judged by {report.classifier}, {settings.steps} {named} steps, "
        f"guidance {settings.guidance:g}, 95 % intervals"
    )
    if not report.targets:
        show_table(
            f"Accuracy in percent ({protocol})", ("", "model", "pictures"), _accuracy(report)
        )
        return
    erased = " and ".join(target.name for target in report.targets)
    title = f"Erasing {erased}, in percent ({protocol})"
    columns = ("", "erased" if report.base else "model", "base", "of base", "pictures")
    show_table(title, columns, _figures(report))
    lost = _lost_most(report)
    if lost:
        show_table("Lost most, in percent", ("", "erased", "base"), lost)


def _figures(report: "EvaluationReport") -> list[tuple[str, ...]]:
    """A row a figure, of each target."""
    names = {
        "ua": "UA",
        "ira": "IRA",
        "cra": "CRA",
        "cra_with_target": "CRA, targets' pictures too",
    }
    rows = []
    for target in report.targets:
        of_model = report.model.unlearning[target.name]
        of_base = report.base.unlearning[target.name] if report.base else None
        ratio = report.percent_of_base.get(target.name)
        label = f" of {target.name}" if len(report.targets) > 1 else ""
        for key, name in names.items():
            figure: Percent | None = getattr(of_model, key)
            cells = (figure, getattr(of_base, key, None), getattr(ratio, key, None))
            rows.append((name + label, *map(_cell, cells), str(figure.n) if figure else "0"))
    return rows


def _accuracy(report: "EvaluationReport") -> list[tuple[str, ...]]:
    accuracy = report.model.accuracy
    figures = {
        "all styles": accuracy.style,
        "all objects": accuracy.object,
        **accuracy.by_style,
        **accuracy.by_object,
    }
    return [
        (name, _cell(figure), str(figure.n) if figure else "0") for name, figure in figures.items()
    ]


def _lost_most(report: "EvaluationReport", n: int = 3) -> list[tuple[str, ...]]:
    """The other concepts whose accuracy fell most."""
    if report.base is None:
        return []
    targets = {target.name for target in report.targets}
    after, before = report.model.accuracy, report.base.accuracy
    pairs = [
        (name, figure, base[name])
        for mine, base in (
            (after.by_style, before.by_style),
            (after.by_object, before.by_object),
        )
        for name, figure in mine.items()
        if name not in targets
    ]
    lost = [(name, a, b) for name, a, b in pairs if a and b and a.percent < b.percent]
    lost.sort(key=lambda entry: entry[1].percent - entry[2].percent)
    return [(name, _cell(a), _cell(b)) for name, a, b in lost[:n]]


def _cell(figure: "Percent | None") -> str:
    return "-" if figure is None else f"{figure.percent:.1f} [{figure.low:.1f}, {figure.high:.1f}]"
