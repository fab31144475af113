"""``esdctl evaluate``: what an erasure took, and what it left, as the classifier sees it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.options import (
    BaseModelOption,
    DeviceOption,
    DryRunOption,
    JsonOption,
    OutputOption,
    QuietOption,
    RootOption,
)
from esdctl.cli.output import print_json, print_path
from esdctl.cli.terminal import reporting, show_table
from esdctl.storage.workspace import find_workspace

if TYPE_CHECKING:
    from esdctl.evaluation.evaluate import Report
    from esdctl.evaluation.intervals import Percent
    from esdctl.evaluation.plan import Request


RunOption = Annotated[
    str, typer.Option("--model", metavar="RUN|NAME|PATH", help="An erased model, or a base.")
]
ConceptOption = Annotated[
    str | None, typer.Option("--concept", help="The target; else the one that the model erased.")
]
SeedsOption = Annotated[
    str | None,
    typer.Option("--seeds", metavar="LIST", help="188,288 or 0-9; a picture a cell each."),
]
StepsOption = Annotated[
    int | None, typer.Option("--steps", help="DDIM steps, 1 to 1000; else the default.")
]
GuidanceOption = Annotated[
    float | None, typer.Option("--guidance", help="Guidance scale; else the default.")
]
BatchOption = Annotated[
    int, typer.Option("--batch-size", min=1, help="At once; changes speed, no picture.")
]
StylesOption = Annotated[
    str | None, typer.Option("--styles", metavar="A,B", help="These styles; else all.")
]
ObjectsOption = Annotated[
    str | None, typer.Option("--objects", metavar="A,B", help="These objects; else all.")
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
    batch_size: BatchOption = 8,
    styles: StylesOption = None,
    objects: ObjectsOption = None,
    min_ua: MinUaOption = None,
    min_ira: MinIraOption = None,
    min_cra: MinCraOption = None,
    output: OutputOption = None,
    device: DeviceOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Measure UA, IRA and CRA of an erased model beside its base.

    Samples styles x objects with "A {object} image in {style} style." from both, and classifies
    the pictures. Prints the path of the erased model's predictions, or the report with --json.
    Predictions are kept in outputs/evaluations (or --output) and used again, the base's for every
    model that was erased from it.
    """
    from esdctl.evaluation.evaluate import evaluate as run_evaluation
    from esdctl.evaluation.plan import plan_evaluation
    from esdctl.evaluation.thresholds import Thresholds, check_thresholds, check_thresholds_apply
    from esdctl.models.devices import find_device
    from esdctl.models.resolve import resolve_model

    workspace = find_workspace(root)
    request = _request(concept, seeds, steps, guidance, styles, objects)
    plan = plan_evaluation(resolve_model(model, workspace, base=base), request)
    thresholds = Thresholds(min_ua, min_ira, min_cra)
    check_thresholds_apply(thresholds, plan)
    folder = output or workspace.outputs / "evaluations"
    if dry_run:
        print_json({"folder": str(folder), **plan.document()})
        return
    with reporting(quiet) as reporter:
        report = run_evaluation(plan, folder, find_device(device), batch_size, reporter)
    if not quiet:
        _show(report)
    if json:
        print_json(report.document())
    else:
        print_path(Path(report.model.predictions))
    check_thresholds(thresholds, report)


def _request(
    concept: str | None,
    seeds: str | None,
    steps: int | None,
    guidance: float | None,
    styles: str | None,
    objects: str | None,
) -> "Request":
    from esdctl.evaluation import plan
    from esdctl.sampling.plan import parse_seeds

    return plan.Request(
        concept=concept,
        seeds=plan.SEEDS if seeds is None else parse_seeds(seeds),
        steps=plan.STEPS if steps is None else steps,
        guidance=plan.GUIDANCE if guidance is None else guidance,
        styles=None if styles is None else tuple(styles.split(",")),
        objects=None if objects is None else tuple(objects.split(",")),
    )


def _show(report: "Report") -> None:
    """Tables on stderr: the figures of the target, or accuracy by concept where there is none."""
    settings = report.settings
    protocol = f"{settings.steps} DDIM steps, guidance {settings.guidance:g}, 95 % intervals"
    if report.model.unlearning is None:
        show_table(
            f"Accuracy in percent ({protocol})", ("", "model", "pictures"), _accuracy(report)
        )
        return
    title = f"Erasing {report.target.name}, in percent ({protocol})" if report.target else protocol
    columns = ("", "erased" if report.base else "model", "base", "of base", "pictures")
    show_table(title, columns, _figures(report))
    lost = _lost_most(report)
    if lost:
        show_table("Lost most, in percent", ("", "erased", "base"), lost)


def _figures(report: "Report") -> list[tuple[str, ...]]:
    model, base, of_base = report.model.unlearning, report.base, report.percent_of_base
    base_figures = base.unlearning if base else None
    names = {
        "ua": "UA",
        "ira": "IRA",
        "cra": "CRA",
        "cra_with_target": "CRA, target's pictures too",
    }
    rows = []
    for key, name in names.items():
        figure: Percent | None = getattr(model, key)
        cells = (figure, getattr(base_figures, key, None), getattr(of_base, key, None))
        rows.append((name, *map(_cell, cells), str(figure.n) if figure else "0"))
    return rows


def _accuracy(report: "Report") -> list[tuple[str, ...]]:
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


def _lost_most(report: "Report", n: int = 3) -> list[tuple[str, ...]]:
    """The other concepts whose accuracy fell most."""
    if report.base is None or report.target is None:
        return []
    after, before = report.model.accuracy, report.base.accuracy
    pairs = [
        (name, figure, base[name])
        for mine, base in (
            (after.by_style, before.by_style),
            (after.by_object, before.by_object),
        )
        for name, figure in mine.items()
        if name != report.target.name
    ]
    lost = [(name, a, b) for name, a, b in pairs if a and b and a.percent < b.percent]
    lost.sort(key=lambda entry: entry[1].percent - entry[2].percent)
    return [(name, _cell(a), _cell(b)) for name, a, b in lost[:n]]


def _cell(figure: "Percent | None") -> str:
    return "-" if figure is None else f"{figure.percent:.1f} [{figure.low:.1f}, {figure.high:.1f}]"
