"""Options that several commands share: one spelling, one help text, one type."""

from pathlib import Path
from typing import Annotated

import typer

from esdctl.cli.completion import complete_model
from esdctl.cli.setting_options import setting_option
from esdctl.erasing.config import TrainConfig
from esdctl.settings.devices import device_name

IN_MOST = "In most commands"  # a heading of the help

RootOption = Annotated[
    Path | None,
    typer.Option(
        "--root",
        metavar="FOLDER",
        help="The workspace with models/, data/ and outputs/; "
        "else ESDCTL_ROOT, else the current folder.",
        rich_help_panel=IN_MOST,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|PATH",
        help="A model's name, its path, or a run; "
        "else compvis if it is here, else diffuser, else pocket.",
        autocompletion=complete_model,
    ),
]
BaseModelOption = Annotated[
    str | None,
    typer.Option("--base", metavar="MODEL", help="Of a delta that does not name its own."),
]
ModelConfigOption = Annotated[Path | None, setting_option(TrainConfig, "model_config_path")]
SupplierOption = Annotated[str | None, setting_option(TrainConfig, "pipeline")]
PredictionOption = Annotated[str | None, setting_option(TrainConfig, "prediction_type")]


def _named_device(text: str | None) -> str | None:
    return None if text is None else device_name(text)


DeviceOption = Annotated[
    str | None,
    typer.Option(
        "--device",
        "--devices",
        metavar="DEVICE",
        callback=_named_device,
        help="cpu, cuda, cuda:1, mps; else the best one.",
    ),
]
SchedulerOption = Annotated[
    str,
    typer.Option(
        "--scheduler",
        metavar="NAME",
        help="ddim, dpmsolver++ or unipc; the last two need half as many steps.",
    ),
]
DtypeOption = Annotated[str | None, setting_option(TrainConfig, "dtype")]
BatchSizeOption = Annotated[
    str | None,
    typer.Option(
        "--batch-size",
        metavar="N|auto",
        help="Pictures at once; changes speed, no picture. auto fits the memory.",
        show_default="auto on CUDA, 8 elsewhere",
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", min=0, help="The same seed gives the same result."),
]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FOLDER", help="Where the result goes."),
]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json", help="Print the result as one JSON document on stdout.", rich_help_panel=IN_MOST
    ),
]
JsonLinesOption = Annotated[
    bool,
    typer.Option(
        "--jsonl", help="Print one JSON object a line, as each is done.", rich_help_panel=IN_MOST
    ),
]
QuietOption = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="Show warnings and errors only, no progress.", rich_help_panel=IN_MOST
    ),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Print the plan and stop before any work: YAML, or JSON with --json."
    ),
]
EstimateOption = Annotated[
    bool,
    typer.Option(
        "--estimate/--no-estimate",
        help="With --dry-run: time and memory, from one measured step.",
        rich_help_panel=IN_MOST,
    ),
]
CatalogOption = Annotated[
    Path | None,
    typer.Option("--catalog", metavar="FILE", help="More entries for the catalogue, in YAML."),
]
RefreshOption = Annotated[
    bool, typer.Option("--refresh", help="Ask the server whether a finished download changed.")
]
