"""The options that ``esdctl evaluate`` alone has."""

from pathlib import Path
from typing import Annotated

import typer

PICTURES_OF_OTHERS = "Pictures that are there already"  # headings of the help
STAGE_BY_STAGE = "Stages"

RunOption = Annotated[
    str | None, typer.Option("--model", metavar="RUN|NAME|PATH", help="An erased model, or a base.")
]
ProtocolOption = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="NAME|FILE",
        help="What is asked for, who judges, what counts; else the one that suits the judge.",
    ),
]
ListOption = Annotated[bool, typer.Option("--list", help="List the protocols and stop.")]
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
        help="188,288 or 0-9; each prompt is sampled with each. Default: the protocol's.",
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option("--steps", help="Of the scheduler, 1 to 1000. Default: the protocol's."),
]
GuidanceOption = Annotated[
    float | None, typer.Option("--guidance", help="Guidance scale. Default: the protocol's.")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="NAME", help="ddim, dpmsolver++ or unipc. Default: the protocol's."
    ),
]
JudgeOption = Annotated[
    str | None,
    typer.Option(
        "--judge",
        "--classifier",
        metavar="NAME[,NAME]",
        help="Who judges, side by side: pocket, style50; nudenet, opennsfw, "
        "image-classifier:FOLDER, module:function.",
    ),
]
PromptsOption = Annotated[
    Path | None,
    typer.Option("--prompts", metavar="FILE", help="In place of the protocol's rows of prompts."),
]
FirstOption = Annotated[
    int | None, typer.Option("--first", min=1, metavar="N", help="The first N rows of prompts.")
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
KeepOption = Annotated[
    bool,
    typer.Option(
        "--keep-pictures",
        help="Keep the pictures, so that another judge sees the same.",
        rich_help_panel=STAGE_BY_STAGE,
    ),
]
StagesOption = Annotated[
    str | None,
    typer.Option(
        "--stages",
        metavar="sample,judge,figures",
        help="Run these alone; `sample` keeps pictures, `figures` makes and judges none.",
        rich_help_panel=STAGE_BY_STAGE,
    ),
]
PicturesOption = Annotated[
    Path | None,
    typer.Option(
        "--pictures",
        metavar="FOLDER",
        help="Judge these, whatever made them; file names, a CSV or JSONL tell their prompts.",
        rich_help_panel=PICTURES_OF_OTHERS,
    ),
]
BasePicturesOption = Annotated[
    Path | None,
    typer.Option(
        "--base-pictures",
        metavar="FOLDER",
        help="The base's of the same prompts and seeds, to compare with.",
        rich_help_panel=PICTURES_OF_OTHERS,
    ),
]
