"""``esdctl apply``: several erasures on one base."""

from typing import Annotated

import typer

from esdctl.cli.export_options import (
    DTypeOption,
    EnergyOption,
    ExportFileOption,
    RankOption,
    write_and_print,
)
from esdctl.cli.options import DryRunOption, JsonOption, QuietOption, RootOption, SupplierOption
from esdctl.cli.terminal import reporting
from esdctl.errors import UsageError


def apply(
    deltas: Annotated[
        list[str],
        typer.Argument(metavar="DELTA...", help="Run folders, deltas, authors' deltas or LoRAs."),
    ],
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="MODEL", help="Else the base that the deltas name."),
    ] = None,
    pipeline: SupplierOption = None,
    scale: Annotated[
        float, typer.Option("--scale", help="Of every change; 1 is the whole erasure.")
    ] = 1.0,
    force: Annotated[
        bool, typer.Option("--force", help="Even on another base than a delta was made from.")
    ] = False,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="FORM", help="delta, compvis, diffusers, unet, lora, kohya, authors."
        ),
    ] = "delta",
    dtype: DTypeOption = None,
    rank: RankOption = None,
    energy: EnergyOption = None,
    output: ExportFileOption = None,
    root: RootOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Add the changes of one or more erasures to a base; print the result's path.

    Example: esdctl apply rust.safetensors dogs.safetensors --base compvis --to compvis
    """
    from esdctl.models.erased import apply_all
    from esdctl.models.exports import plan_export
    from esdctl.storage.workspace import find_workspace

    if not -100 <= scale <= 100:
        raise UsageError(f"--scale is {scale}", "use 1 for the whole erasure, 0.5 for half of it")
    workspace = find_workspace(root)
    with reporting(quiet) as reporter:
        erased, notes = apply_all(deltas, base, scale, force, workspace, reporter, pipeline)
        for note in notes:
            reporter.notice(note)
    plan = plan_export(erased, to, output, workspace, dtype, rank, energy)
    write_and_print(erased, plan, dry_run, json, quiet)
