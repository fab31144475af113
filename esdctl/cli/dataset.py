"""``esdctl dataset``: fetch, list, count and look at data sets, and print their prompts."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.command import CommandGroup
from esdctl.cli.fetching import fetch_and_print, show_artifacts
from esdctl.cli.options import (
    CatalogOption,
    DryRunOption,
    JsonLinesOption,
    JsonOption,
    QuietOption,
    RefreshOption,
    RootOption,
)
from esdctl.cli.output import print_json, print_line, print_path
from esdctl.cli.terminal import reporting, show_table
from esdctl.cli.transfer_options import TransferFlags, with_transfer_flags
from esdctl.errors import InputError, UsageError
from esdctl.storage.workspace import Workspace, find_workspace

if TYPE_CHECKING:
    from esdctl.catalog.artifacts import Artifact, Catalog
    from esdctl.datasets.folders import Inventory
    from esdctl.datasets.prompt_row import PromptRow

app = CommandGroup(name="dataset", help="Fetch, count and look at data sets.", no_args_is_help=True)

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="unlearn-canvas, i2p, or your own.")
]
SampleOption = Annotated[bool, typer.Option("--sample", help="The small part of it.")]
FullOption = Annotated[bool, typer.Option("--full", help="All of it.")]
Names = list[str] | None


@app.command()
@with_transfer_flags
def fetch(
    transfer: TransferFlags,
    name: NameArgument,
    sample: SampleOption = False,
    full: FullOption = False,
    catalog: CatalogOption = None,
    refresh: RefreshOption = False,
    root: RootOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    jsonl: JsonLinesOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch a data set; print its folder.

    Example: esdctl dataset fetch i2p --sample
    """
    from esdctl.catalog.artifacts import load_catalog

    artifact = load_catalog(catalog).find(name, _variant(sample, full))
    if artifact.kind != "dataset":
        raise UsageError(f"{name} is a model", f"use `esdctl download {name}`")
    fetch_and_print(
        [artifact], find_workspace(root), transfer,
        refresh=refresh, dry_run=dry_run, json=json, jsonl=jsonl, quiet=quiet,
    )  # fmt: skip


@app.command("list")
def list_all(
    catalog: CatalogOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Print the data sets there are, and which of them are here."""
    from esdctl.catalog.artifacts import load_catalog

    known = load_catalog(catalog).artifacts
    data_sets = [artifact for artifact in known if artifact.kind == "dataset"]
    show_artifacts(data_sets, find_workspace(root), json, quiet)


@app.command()
def info(
    name: NameArgument,
    sample: SampleOption = False,
    full: FullOption = False,
    grid: Annotated[bool, typer.Option("--grid", help="Make a contact sheet as well.")] = False,
    catalog: CatalogOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Count a data set's pictures by style, object and category; print its folder.

    With --grid, print the path of a contact sheet in outputs/datasets instead.
    Without --sample or --full: the full data set if it is here, else the sample.
    """
    from esdctl.catalog.artifacts import load_catalog
    from esdctl.datasets.folders import take_inventory

    workspace = find_workspace(root)
    artifact = _present(load_catalog(catalog), name, _variant(sample, full), workspace)
    folder = workspace.root / artifact.folder
    inventory = take_inventory(folder)
    document: dict[str, object] = {
        "name": artifact.name, "variant": artifact.variant, "folder": str(folder),
        **asdict(inventory),
    }  # fmt: skip
    sheet = _write_sheet(artifact, workspace) if grid else None
    if not quiet:
        _show(artifact.title, inventory)
    if json:
        print_json({**document, "contact_sheet": str(sheet) if sheet else None})
    else:
        print_path(sheet or folder)


@app.command()
def prompts(
    name: NameArgument,
    sample: SampleOption = False,
    full: FullOption = False,
    category: Annotated[Names, typer.Option(help="Of I2P; repeatable.")] = None,
    style: Annotated[Names, typer.Option(help="Of UnlearnCanvas; repeatable.")] = None,
    object_: Annotated[
        Names, typer.Option("--object", help="Of UnlearnCanvas; repeatable.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV, with each row's settings.")] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="As JSON Lines, with each row's settings.")
    ] = False,
    catalog: CatalogOption = None,
    root: RootOption = None,
    quiet: QuietOption = False,
) -> None:
    """Print a data set's prompts, a line each, for `esdctl sample --prompts -`.

    I2P's rows have their own seed, guidance and size, which --csv and --jsonl keep.
    Prompts of UnlearnCanvas can be had before it is fetched.

    Example: esdctl dataset prompts i2p --category self-harm --jsonl | esdctl sample --prompts -
    """
    from esdctl.datasets.prompt_formats import as_csv, as_jsonl, as_text

    if csv and jsonl:
        raise UsageError("--csv and --jsonl exclude each other")
    filters = {"category": category or [], "style": style or [], "object": object_ or []}
    rows = _rows(name, _variant(sample, full), filters, catalog, find_workspace(root))
    if not (csv or jsonl) and any(row.seed is not None for row in rows):
        with reporting(quiet) as reporter:
            reporter.notice("each row has a seed, guidance and size; --jsonl keeps them")
    write = as_csv if csv else as_jsonl if jsonl else as_text
    for line in write(rows):
        print_line(line)


def _variant(sample: bool, full: bool) -> str:
    if sample and full:
        raise UsageError("--sample and --full exclude each other")
    return "sample" if sample else "full" if full else ""


def _present(known: "Catalog", name: str, variant: str, workspace: Workspace) -> "Artifact":
    """The data set of that name that is here, the full one before the sample.

    Raises:
        UsageError: there is no such data set.
        InputError: it is not here.
    """
    variants = [known.find(name, variant)] if variant else list(known.variants(name))
    if variants[0].kind != "dataset":
        raise UsageError(f"{name} is a model", "`esdctl dataset list` prints the data sets")
    here = [entry for entry in variants if (workspace.root / entry.folder).is_dir()]
    if not here:
        title = variants[0].title
        raise InputError(
            f"{title} is not in the workspace {workspace.root}",
            f"fetch it: esdctl dataset fetch {title}",
        )
    return next((entry for entry in here if entry.variant == "full"), here[0])


def _rows(
    name: str,
    variant: str,
    filters: Mapping[str, list[str]],
    catalog: Path | None,
    workspace: Workspace,
) -> "list[PromptRow]":
    from esdctl.catalog.artifacts import load_catalog
    from esdctl.datasets import folders, selection

    known = load_catalog(catalog)
    try:
        folder = workspace.root / _present(known, name, variant, workspace).folder
    except InputError:
        if variant or known.variants(name)[0].name != "unlearn-canvas":
            raise
        _refuse_filters("UnlearnCanvas", filters, "category")
        return selection.unlearn_canvas_prompts(styles=filters["style"], objects=filters["object"])
    if folders.is_i2p(folder):
        _refuse_filters("I2P", filters, "style", "object")
        return selection.i2p_prompts(folder / folders.I2P_TABLE, filters["category"])
    _refuse_filters("UnlearnCanvas", filters, "category")
    cells = folders.pictures_by_cell(folder)
    return selection.unlearn_canvas_prompts(cells, filters["style"], filters["object"])


def _refuse_filters(data_set: str, filters: Mapping[str, list[str]], *names: str) -> None:
    for name in names:
        if filters[name]:
            raise UsageError(f"--{name} makes no sense for {data_set}", "leave it out")


def _show(title: str, inventory: "Inventory") -> None:
    counts = {
        "style": inventory.by_style,
        "object": inventory.by_object,
        "category": inventory.by_category,
        "category of prompts": inventory.prompts_by_category,
    }
    for kind, by_name in counts.items():
        if by_name:
            rows = [(name, str(n)) for name, n in sorted(by_name.items())]
            unit = "prompts" if kind.endswith("prompts") else "pictures"
            show_table(f"{title}, by {kind.partition(' ')[0]}", ("", unit), rows)
    if inventory.unknown:
        names = [(name,) for name in inventory.unknown]
        show_table("Unknown to the data set", ("",), names)


def _write_sheet(artifact: "Artifact", workspace: Workspace) -> Path:
    from esdctl.cli.dataset_sheet import data_set_sheet
    from esdctl.storage.atomic import write_with

    sheet = data_set_sheet(workspace.root / artifact.folder)
    label = f"{artifact.name}-{artifact.variant}" if artifact.variant else artifact.name
    path = workspace.outputs / "datasets" / f"{label}.png"
    write_with(path, lambda temporary: sheet.save(temporary, format="PNG"))
    return path
