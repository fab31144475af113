"""``esdctl download``: models, and anything else of the catalogue, into the workspace."""

from typing import TYPE_CHECKING, Annotated

import typer

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
from esdctl.cli.transfer_options import TransferFlags, with_transfer_flags
from esdctl.errors import UsageError
from esdctl.storage.workspace import find_workspace

if TYPE_CHECKING:
    from esdctl.catalog.artifacts import Artifact, Catalog


@with_transfer_flags
def download(
    transfer: TransferFlags,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="compvis, diffuser, hub:OWNER/NAME, or your own."),
    ] = None,
    list_all: Annotated[
        bool, typer.Option("--list", help="Print what there is, and stop.")
    ] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Files of a hub: model, repeatable; else a pipeline's."),
    ] = None,
    catalog: CatalogOption = None,
    refresh: RefreshOption = False,
    root: RootOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    jsonl: JsonLinesOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch models; print each one's folder.

    Each file is checked as it arrives; a folder appears when it is complete. Interrupted, the same
    command goes on where it stopped. Run again, it does nothing.

    Example: esdctl download compvis
    """
    from esdctl.catalog.artifacts import load_catalog

    workspace, known = find_workspace(root), load_catalog(catalog)
    if list_all:
        return show_artifacts(known.artifacts, workspace, json, quiet)
    fetch_and_print(
        _chosen(names or [], include or [], known),
        workspace, transfer, refresh=refresh, dry_run=dry_run, json=json, jsonl=jsonl, quiet=quiet,
    )  # fmt: skip


def _chosen(names: list[str], include: list[str], known: "Catalog") -> "list[Artifact]":
    from esdctl.catalog.artifacts import HUB_PREFIX, hub_artifact

    if not names:
        raise UsageError("nothing to download", "give a name; --list prints them")
    from_hub = [name.startswith(HUB_PREFIX) for name in names]
    if include and not all(from_hub):
        raise UsageError("--include is for hub:OWNER/NAME alone", "leave it out")
    chosen = [
        hub_artifact(name, include) if is_from_hub else known.find(name)
        for name, is_from_hub in zip(names, from_hub, strict=True)
    ]
    return list(dict.fromkeys(chosen))
