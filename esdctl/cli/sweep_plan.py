"""``esdctl sweep plan``: from concepts and a grid to a manifest."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.options import (
    DeviceOption,
    DryRunOption,
    EstimateOption,
    JsonOption,
    ModelOption,
    QuietOption,
    RootOption,
)
from esdctl.cli.output import print_document, print_json, print_path
from esdctl.cli.terminal import reporting
from esdctl.errors import UsageError
from esdctl.storage.workspace import Workspace, find_workspace

if TYPE_CHECKING:
    from esdctl.erasing.concept_file import Row
    from esdctl.progress import Reporter
    from esdctl.sweep.manifest import Attacks, Evaluation, Job
    from esdctl.sweep.plan import SweepRequest

NAMED, VARIED, MEASURED = "What is erased", "What is varied", "What is measured"


def plan(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.jsonl", help="The manifest.")
    ] = Path("sweep.jsonl"),
    concept: Annotated[
        list[str] | None,
        typer.Option("--concept", help="What to erase; more than once.", rich_help_panel=NAMED),
    ] = None,
    concepts: Annotated[
        Path | None,
        typer.Option(
            "--concepts",
            metavar="FILE",
            help="A concept a line, or CSV with name, template, prompt, erase_from.",
            rich_help_panel=NAMED,
        ),
    ] = None,
    all_styles: Annotated[
        bool,
        typer.Option("--all-styles", help="Every style the model knows.", rich_help_panel=NAMED),
    ] = False,
    all_objects: Annotated[
        bool,
        typer.Option("--all-objects", help="Every object the model knows.", rich_help_panel=NAMED),
    ] = False,
    model: ModelOption = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", metavar="PRESET", help="As esdctl train has it."),
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            "--grid",
            metavar="KEY=VALUE,VALUE",
            help="A setting of esdctl train and its values, seed=1,2,3 too; more than once.",
            rich_help_panel=VARIED,
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting of all erasures; more than once.",
            rich_help_panel=VARIED,
        ),
    ] = None,
    evaluate: Annotated[
        bool,
        typer.Option("--evaluate/--no-evaluate", help="Measure each.", rich_help_panel=MEASURED),
    ] = True,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            metavar="NAME|FILE",
            help="Else the one that suits the judge.",
            rich_help_panel=MEASURED,
        ),
    ] = None,
    evaluation_seeds: Annotated[
        str | None,
        typer.Option(
            "--evaluation-seeds",
            metavar="1,2,5-8",
            help="In place of the protocol's.",
            rich_help_panel=MEASURED,
        ),
    ] = None,
    attack: Annotated[
        str | None,
        typer.Option(
            "--attack",
            metavar="NAME,...|all",
            help="Attack each, as esdctl attack --method does.",
            rich_help_panel=MEASURED,
        ),
    ] = None,
    attack_budget: Annotated[
        str,
        typer.Option(
            "--attack-budget",
            metavar="quick|paper|FILE",
            help="Of each attack.",
            rich_help_panel=MEASURED,
        ),
    ] = "quick",
    attack_n: Annotated[
        int | None,
        typer.Option("--attack-n", min=1, help="Cases of each attack.", rich_help_panel=MEASURED),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="For the estimate: erasures at once.")
    ] = 1,
    price: Annotated[
        float | None,
        typer.Option("--price", min=0, help="For the estimate: of a worker's hour."),
    ] = None,
    device: DeviceOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
    estimate: EstimateOption = True,
) -> None:
    """Write a manifest: a job a line, each an erasure with what is measured of it; print its path.

    Every concept is erased with every combination of the grid's values. A manifest never changes;
    with --dry-run nothing is written, and time, disk and cost are told from one measured step.

    Example: esdctl sweep plan --all-styles --grid lr=1e-5,5e-5 -o sweep.jsonl
    """  # fmt: skip
    began = time.perf_counter()
    from esdctl.sweep.manifest import write_manifest
    from esdctl.sweep.plan import plan_jobs

    if not evaluate and (protocol or evaluation_seeds):
        raise UsageError("--no-evaluate leaves nothing to measure", "leave --protocol out")
    workspace = find_workspace(root)
    with reporting(quiet) as reporter:
        request = _request(
            _concepts(concept or [], concepts, all_styles, all_objects, model, workspace, reporter),
            grid or [],
            setting or [],
            model,
            preset,
            _evaluation(protocol, evaluation_seeds) if evaluate else None,
            _attacks(attack, attack_budget, attack_n),
        )
        jobs = list(plan_jobs(request, workspace, reporter))
        if dry_run:
            document: dict[str, object] = {
                "manifest": str(output),
                "jobs": [{"job": job.name, "label": job.label} for job in jobs],
            }
            if estimate:
                document["estimate"] = _cost(
                    request, jobs, workers, device, price, began, workspace, reporter
                )
            return print_document(document, json)
        count = write_manifest(output, jobs)
        reporter.notice(f"{count} jobs; next: esdctl sweep run {output}")
    if json:
        return print_json({"manifest": str(output), "jobs": count})
    return print_path(output)


def _concepts(
    named: Sequence[str],
    file: Path | None,
    all_styles: bool,
    all_objects: bool,
    model: str | None,
    workspace: Workspace,
    reporter: "Reporter",
) -> "tuple[Row, ...]":
    from esdctl.erasing.base_model import find_base
    from esdctl.erasing.concept_file import read_concepts
    from esdctl.erasing.config import TrainConfig
    from esdctl.sweep.plan import known_concepts

    found: list[Row] = [{"name": name} for name in named]
    found += read_concepts(file) if file else ()
    if all_styles or all_objects:
        pipeline, _ = find_base(TrainConfig(model=model), False, workspace, reporter)
        names = known_concepts(pipeline.folder, all_styles, all_objects)
        found += [{"name": name} for name in names]
    if not found:
        raise UsageError(
            "nothing to erase", "give --concept, --concepts FILE, --all-styles or --all-objects"
        )
    return tuple({tuple(sorted(row.items())): row for row in found}.values())


def _request(
    concepts: "tuple[Row, ...]",
    grid: Sequence[str],
    settings: Sequence[str],
    model: str | None,
    preset: str | None,
    evaluate: "Evaluation | None",
    attack: "Attacks | None",
) -> "SweepRequest":
    from esdctl.sweep.plan import SweepRequest, parse_grid, parse_settings

    varied, fixed = parse_grid(grid), parse_settings(settings)
    both = [name for name in varied if name in fixed]
    if both:
        raise UsageError(f"{both[0]} is in --grid and in --set", "keep one of them")
    return SweepRequest(concepts, varied, fixed, model, preset, evaluate, attack)


def _evaluation(protocol: str | None, seeds: str | None) -> "Evaluation":
    from esdctl.evaluation.protocols.protocol import find_protocol
    from esdctl.sampling.plan import parse_seeds
    from esdctl.sweep.manifest import Evaluation

    if seeds is not None:
        parse_seeds(seeds)
    if protocol is not None:
        find_protocol(protocol)
        protocol, digest = _with_digest(protocol)
        return Evaluation(protocol, seeds, digest)
    return Evaluation(None, seeds)


def _attacks(methods: str | None, budget: str, n: int | None) -> "Attacks | None":
    if methods is None:
        if n is not None or budget != "quick":
            raise UsageError("nothing is attacked", "name the attacks: --attack inversion,noise")
        return None
    from esdctl.attacks.budget import parse_budget
    from esdctl.attacks.plan import parse_attacks
    from esdctl.sweep.manifest import Attacks

    parse_budget(budget)
    parse_attacks(methods)
    named, digest = _with_digest(budget)
    return Attacks(methods, named, n, digest)


def _with_digest(name: str) -> tuple[str, str | None]:
    """A file by its whole path, with its sha256; a name as it is."""
    from esdctl.storage.digest import sha256_file

    path = Path(name)
    return (str(path.resolve()), sha256_file(path)) if path.is_file() else (name, None)


def _cost(
    request: "SweepRequest",
    jobs: "Sequence[Job]",
    workers: int,
    device: str | None,
    price: float | None,
    began: float,
    workspace: Workspace,
    reporter: "Reporter",
) -> dict[str, object]:
    from esdctl.sweep.cost import estimate_sweep
    from esdctl.sweep.plan import plan_first

    erasure = plan_first(request, workspace, reporter)
    cost = estimate_sweep(
        erasure, jobs, min(workers, len(jobs)), device, price, began, workspace, reporter
    )
    if request.attack is not None:
        reporter.notice("attacks are not in the estimate: how long they search is not known")
    return cost.document()
