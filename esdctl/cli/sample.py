"""``esdctl sample``: prompts in, pictures out."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.cell_options import (
    LAYOUT,
    LayoutOption,
    ObjectsOption,
    StylesOption,
    is_layout,
    plan_layout,
)
from esdctl.cli.estimates import tell_estimate
from esdctl.cli.options import (
    BaseModelOption,
    BatchSizeOption,
    DeviceOption,
    DryRunOption,
    DtypeOption,
    EstimateOption,
    JsonOption,
    ModelConfigOption,
    ModelOption,
    OutputOption,
    PredictionOption,
    QuietOption,
    RootOption,
    SchedulerOption,
    SeedOption,
    SupplierOption,
)
from esdctl.cli.output import print_document, print_json, print_json_line, print_path
from esdctl.cli.terminal import reporting
from esdctl.errors import InputError, UsageError
from esdctl.models.named import default_model
from esdctl.progress import Reporter
from esdctl.storage.workspace import Workspace, find_workspace

if TYPE_CHECKING:
    from esdctl.datasets.prompt_row import PromptRow
    from esdctl.models.resolve import Pipeline
    from esdctl.sampling.plan import BatchSize, SamplePlan

Row = Mapping[str, object]

PromptsOption = Annotated[
    str | None,
    typer.Option(
        "--prompts",
        metavar="FILE|-",
        help="Text (a prompt a line), CSV (a column prompt) or JSON Lines; - reads stdin. "
        "A row may have its own seed, guidance, width and height.",
    ),
]
PromptOption = Annotated[
    list[str] | None, typer.Option("--prompt", metavar="TEXT", help="A prompt; repeatable.")
]
RefuseEmptyOption = Annotated[
    bool, typer.Option("--refuse-empty", help="Refuse a table in which a row has no prompt.")
]
SeedsOption = Annotated[
    str | None,
    typer.Option(
        "--seeds",
        metavar="LIST",
        help="188,288 or 0-9; each prompt with each, in place of the rows' own.",
    ),
]
GuidanceOption = Annotated[
    float | None,
    typer.Option(
        "--guidance", help="Scale; else the row's, else 3 for pocket, 7.5 for others (--layout: 9)."
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option("--steps", help="Of the scheduler, 1 to 1000; else 25 (--layout: 100)."),
]
ImageSizeOption = Annotated[
    int | None,
    typer.Option("--image-size", help="Pixels, a multiple of 8; else the row's, else the model's."),
]
GridOption = Annotated[
    bool, typer.Option("--grid", help="Also write contact_sheet.png into the folder.")
]
JsonLinesOption = Annotated[
    bool, typer.Option("--jsonl", help="Print one JSON object a picture, as it is done.")
]


def sample(
    model: ModelOption = None,
    base: BaseModelOption = None,
    pipeline: SupplierOption = None,
    model_config_path: ModelConfigOption = None,
    prediction_type: PredictionOption = None,
    prompts: PromptsOption = None,
    prompt: PromptOption = None,
    refuse_empty: RefuseEmptyOption = False,
    seeds: SeedsOption = None,
    seed: SeedOption = None,
    guidance: GuidanceOption = None,
    steps: StepsOption = None,
    scheduler: SchedulerOption = "ddim",
    image_size: ImageSizeOption = None,
    batch_size: BatchSizeOption = None,
    layout: LayoutOption = None,
    styles: StylesOption = None,
    objects: ObjectsOption = None,
    output: OutputOption = None,
    grid: GridOption = False,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    jsonl: JsonLinesOption = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
    estimate: EstimateOption = True,
) -> None:
    """Sample pictures: a PNG each, and a row each in pictures.jsonl.

    Prints each picture's path as soon as it is on disk. Run again, it makes only what is missing.
    The folder is outputs/samples/MODEL-DIGEST unless --output names another.
    The seed is 188 unless a row or a flag names another. A flag beats what a row says.

    With --layout, the benchmark's prompts, all styles x objects, as its scripts keep their
    pictures; the folder is outputs/unlearn-canvas.
    """
    began = time.perf_counter()
    show_picture = _printer(json, jsonl)
    has_layout = is_layout(layout)
    rows = _rows(prompts, prompt or [], refuse_empty, has_layout, styles, objects)
    from esdctl.models.precision import dtype_for
    from esdctl.models.resolve import resolve_model
    from esdctl.sampling.plan import SamplingSettings, batch_size_for, plan_pictures
    from esdctl.sampling.schedulers import parse_scheduler

    workspace = find_workspace(root)
    at_once = batch_size_for(batch_size, device)
    every_seed, solver = _seeds(seeds, seed), parse_scheduler(scheduler)
    settings = SamplingSettings(every_seed, guidance, steps, image_size, solver)
    with reporting(quiet) as reporter:
        chosen = resolve_model(
            _model(model, workspace, reporter), workspace, base=base,
            model_config=model_config_path, prediction_type=prediction_type,
            supplier=pipeline, reporter=reporter,
        )  # fmt: skip
        if has_layout:
            plan, name = plan_layout(chosen, styles, objects, settings)
            plan = plan.in_dtype(dtype_for(dtype, device))
            folder = (output or workspace.outputs / LAYOUT) / name
        else:
            plan = plan_pictures(chosen, rows, settings).in_dtype(dtype_for(dtype, device))
            folder = output or workspace.outputs / "samples" / plan.label
        document = {"folder": str(folder), **plan.document()}
        for note in plan.notes:
            reporter.notice(note)
        if dry_run:
            if estimate:
                document["estimate"] = _estimate(plan, chosen, device, at_once, began, reporter)
            return print_document(document, json)
        made = _make(plan, chosen, folder, device, at_once, reporter, show_picture)
        if grid:
            document["contact_sheet"] = _lay_out(plan, folder, reporter)
    if json:
        print_json({**document, "pictures": made})


def _estimate(
    plan: "SamplePlan",
    pipeline: "Pipeline",
    device: str | None,
    batch_size: "BatchSize",
    began: float,
    reporter: Reporter,
) -> dict[str, object]:
    from esdctl.models.devices import find_device
    from esdctl.timing.estimate import estimate_sampling

    place = find_device(device)
    estimate = estimate_sampling(pipeline, plan.pictures, batch_size, place, began)
    tell_estimate(estimate, reporter)
    return estimate.document()


def _make(
    plan: "SamplePlan",
    pipeline: "Pipeline",
    folder: Path,
    device: str | None,
    batch_size: "BatchSize",
    reporter: Reporter,
    show_picture: Callable[[Path, Row], None],
) -> list[Row]:
    from esdctl.models.cpu_cost import cpu_cost_note
    from esdctl.models.devices import find_device
    from esdctl.models.precision import DTYPES
    from esdctl.models.stable_diffusion import load
    from esdctl.sampling.pictures import make_pictures

    passes = sum(picture.steps * 2 for picture in plan.pictures)  # with guidance
    cost = cpu_cost_note(pipeline, device, passes, max(p.width for p in plan.pictures))
    for note in (*pipeline.files.architecture.notes, *([cost] if cost else [])):
        reporter.notice(note)
    place = find_device(device)
    return make_pictures(
        plan,
        folder,
        lambda: load(pipeline, place, DTYPES[plan.pictures[0].dtype]),
        batch_size,
        reporter,
        show=lambda row: show_picture(folder / str(row["file"]), row),
    )


def _lay_out(plan: "SamplePlan", folder: Path, reporter: Reporter) -> str:
    from esdctl.sampling.pictures import write_contact_sheet

    sheet = write_contact_sheet(plan, folder)
    reporter.notice(f"contact sheet: {sheet}")
    return str(sheet)


def _rows(
    prompts: str | None,
    texts: list[str],
    refuse_empty: bool,
    has_layout: bool,
    styles: str | None,
    objects: str | None,
) -> "list[PromptRow]":
    """The rows of the file, then the prompts of the command line; none under a layout."""
    from esdctl.datasets.prompts import prompts_from, read_prompts

    if has_layout:
        if prompts is not None or texts:
            raise UsageError(f"--layout {LAYOUT} has prompts of its own", "leave yours out")
        return []
    if styles is not None or objects is not None:
        raise UsageError("--styles and --objects choose from a layout", f"add --layout {LAYOUT}")
    if prompts is None and not texts:
        raise UsageError("no prompts", "pass --prompt TEXT, or --prompts with a file or -")
    rows = [*(read_prompts(prompts) if prompts is not None else []), *prompts_from(texts)]
    empty = [number for number, row in enumerate(rows, start=1) if not row.prompt]
    if refuse_empty and empty:
        raise InputError(f"row {empty[0]} has no prompt", "leave out --refuse-empty to sample it")
    return rows


def _model(name: str | None, workspace: Workspace, reporter: Reporter) -> str:
    """The model that is named, else the one that ``train`` takes."""
    if name is not None:
        return name
    chosen = default_model(workspace)
    reporter.notice(f"model: {chosen} (choose another with --model)")
    return chosen


def _seeds(seeds: str | None, seed: int | None) -> tuple[int, ...] | None:
    from esdctl.sampling.plan import parse_seeds

    if seeds is not None and seed is not None:
        raise UsageError("--seed and --seeds exclude each other")
    if seeds is not None:
        return parse_seeds(seeds)
    return None if seed is None else (seed,)


def _printer(json: bool, jsonl: bool) -> Callable[[Path, Row], None]:
    """What to print when a picture is on disk: its path, its row, or nothing yet."""
    if json and jsonl:
        raise UsageError("--json and --jsonl exclude each other")
    if json:
        return lambda path, row: None
    if jsonl:
        return lambda path, row: print_json_line({**row, "path": str(path)})
    return lambda path, row: print_path(path)
