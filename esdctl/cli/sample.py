"""``esdctl sample``: prompts in, pictures out."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.options import (
    DeviceOption,
    DryRunOption,
    JsonOption,
    OutputOption,
    QuietOption,
    RootOption,
    SeedOption,
)
from esdctl.cli.output import print_json, print_json_line, print_path
from esdctl.cli.terminal import reporting
from esdctl.errors import UsageError
from esdctl.storage.workspace import find_workspace

if TYPE_CHECKING:
    from esdctl.datasets.prompts import PromptRow

_PROMPTS_HELP = (
    "Text (a prompt a line), CSV (a column prompt) or JSON Lines; - reads stdin. A row may have "
    "its own seed, guidance, width and height."
)


def sample(
    model: Annotated[
        str,
        typer.Option("--model", metavar="NAME|PATH", help="A model's name, path or run folder."),
    ] = "pocket",
    prompts: Annotated[
        str | None, typer.Option("--prompts", metavar="FILE|-", help=_PROMPTS_HELP)
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", metavar="TEXT", help="A prompt; repeatable.")
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="LIST", help="188,288 or 0-9; each prompt with each seed."),
    ] = None,
    seed: SeedOption = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            "--guidance", help="Scale; else the row's, else 3 for pocket, 7.5 for others."
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", help="DDIM steps, 1 to 1000.")] = 25,
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", help="Pixels, a multiple of 8; else the row's, the model's."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="At once; changes speed, no picture.")
    ] = 8,
    output: OutputOption = None,
    grid: Annotated[
        bool, typer.Option("--grid", help="Also write contact-sheet.png into the folder.")
    ] = False,
    device: DeviceOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Print one JSON object a picture.")
    ] = False,
    quiet: QuietOption = False,
    dry_run: DryRunOption = False,
) -> None:
    """Sample pictures: a PNG each, and a row each in pictures.jsonl.

    Prints the path of each picture as soon as it is on disk. Run again, it makes only what is
    missing. The folder is outputs/samples/MODEL-DIGEST unless --output names another; seed 188
    unless a row or a flag names others.
    """
    if json and jsonl:
        raise UsageError("--json and --jsonl exclude each other")
    rows = _rows(prompts, prompt or [])

    from esdctl.models.resolve import resolve_model
    from esdctl.sampling.plan import Settings, plan_pictures

    workspace = find_workspace(root)
    pipeline = resolve_model(model, workspace)
    settings = Settings(_seeds(seeds, seed), guidance, steps, image_size)
    plan = plan_pictures(pipeline, rows, settings)
    folder = output or workspace.outputs / "samples" / plan.label
    if dry_run:
        print_json({"folder": str(folder), **plan.document()})
        return

    from esdctl.models.stable_diffusion import find_device, load
    from esdctl.sampling.pictures import make_pictures, write_contact_sheet

    with reporting(quiet) as reporter:
        place = find_device(device or _best_device())
        made = make_pictures(
            plan,
            folder,
            lambda: load(pipeline, place),
            batch_size,
            reporter,
            show=_printer(folder, json, jsonl),
        )
        sheet = write_contact_sheet(plan, folder) if grid else None
        if sheet is not None:
            reporter.notice(f"contact sheet: {sheet}")
    if json:
        document = {**plan.document(), "pictures": made, "folder": str(folder)}
        print_json({**document, "contact_sheet": str(sheet) if sheet else None})


def _rows(prompts: str | None, texts: list[str]) -> "list[PromptRow]":
    """The rows of the file, then the prompts of the command line."""
    from esdctl.datasets.prompts import prompts_from, read_prompts

    if prompts is None and not texts:
        raise UsageError("no prompts", "pass --prompt TEXT, or --prompts with a file or -")
    return [*(read_prompts(prompts) if prompts is not None else []), *prompts_from(texts)]


def _seeds(seeds: str | None, seed: int | None) -> tuple[int, ...] | None:
    from esdctl.sampling.plan import parse_seeds

    if seeds is not None and seed is not None:
        raise UsageError("--seed and --seeds exclude each other")
    if seeds is not None:
        return parse_seeds(seeds)
    return None if seed is None else (seed,)


def _printer(folder: Path, json: bool, jsonl: bool) -> Callable[[Mapping[str, object]], None]:
    """What to print when a picture is on disk."""

    def show(row: Mapping[str, object]) -> None:
        path = folder / str(row["file"])
        if jsonl:
            print_json_line({**row, "path": str(path)})
        elif not json:
            print_path(path)

    return show


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
