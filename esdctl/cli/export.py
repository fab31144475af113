"""``esdctl export``: an erased model in the form that the next tool reads."""

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


def export(
    model: Annotated[
        str, typer.Argument(metavar="RUN|DELTA|MODEL", help="A run folder, a delta, or a base.")
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="FORM", help="compvis, diffusers, unet, delta, lora, kohya, authors."
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="MODEL", help="Of a delta that does not name its own."),
    ] = None,
    pipeline: SupplierOption = None,
    dtype: DTypeOption = None,
    rank: RankOption = None,
    energy: EnergyOption = None,
    output: ExportFileOption = None,
    root: RootOption = None,
    dry_run: DryRunOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a complete model, a delta or a LoRA; print its path.

    Example: esdctl export outputs/runs/Rust-xattn-1a2b3c4d --to compvis -o rust.safetensors
    """
    from esdctl.models.erased import open_erased
    from esdctl.models.exports import plan_export
    from esdctl.storage.workspace import find_workspace

    workspace = find_workspace(root)
    with reporting(quiet) as reporter:
        erased = open_erased(model, workspace, base, reporter, pipeline)
        for note in erased.base.files.architecture.notes:
            reporter.notice(note)
    plan = plan_export(erased, to, output, workspace, dtype, rank, energy)
    write_and_print(erased, plan, dry_run, json, quiet)
