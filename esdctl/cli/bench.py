"""``esdctl bench``: what training, sampling and opening a model cost on this machine."""

from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli import train_options as opt
from esdctl.cli.command import CommandGroup
from esdctl.cli.options import DeviceOption, JsonOption, QuietOption, RootOption
from esdctl.cli.output import print_json, print_line
from esdctl.cli.terminal import reporting
from esdctl.storage.workspace import find_workspace

if TYPE_CHECKING:
    from esdctl.timing.report import Report

app = CommandGroup(
    name="bench",
    help="Measure this machine: a training pair, a picture, the opening of a model.",
    no_args_is_help=True,
)

ModelOption = Annotated[
    str, typer.Option("--model", metavar="NAME|PATH", help="A model's name or path.")
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="UA>=N",
        help="Also train until then, once with each settings; minutes on pocket.",
    ),
]
BatchSizesOption = Annotated[
    str, typer.Option("--batch-sizes", metavar="LIST", help="Pictures at once, such as 1,4,16.")
]
StepsOption = Annotated[int, typer.Option("--steps", min=1, max=1000, help="DDIM steps.")]


@app.command()
def train(
    model: ModelOption = "pocket",
    concept: opt.ConceptOption = "Van Gogh",
    prompt: opt.PromptOption = None,
    preset: opt.PresetOption = None,
    train_method: opt.MethodOption = None,
    trajectory: opt.TrajectoryOption = None,
    batch_size: opt.BatchSizeOption = None,
    ddim_steps: opt.StepsOption = None,
    image_size: opt.ImageSizeOption = None,
    iterations: opt.IterationsOption = None,
    lr: opt.RateOption = None,
    retain_all: opt.RetainAllOption = None,
    devices: opt.DevicesOption = None,
    dtype: opt.DtypeOption = None,
    gradient_checkpointing: opt.CheckpointingOption = None,
    compile: opt.CompileOption = None,  # noqa: A002  # the flag's name
    until: UntilOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Seconds, forward-equivalents and memory of a training pair, with these settings and with
    the reference's: exact trajectories, batch 1, 50 DDIM steps, nothing retained.

    Example: esdctl bench train --model compvis --json
    """
    flags = {
        key: value
        for key, value in locals().items()
        if value is not None and key not in ("preset", "until", "root", "json", "quiet")
    }
    from esdctl.timing.training_bench import REFERENCE, TrainingCase, bench_training

    flags.setdefault("prompt", ["{concept} style"])
    cases = [
        TrainingCase("exact, batch 1, 50 DDIM steps", {**flags, **REFERENCE}, preset),
        TrainingCase("these settings", flags, preset),
    ]
    with reporting(quiet) as reporter:
        found = bench_training(cases, find_workspace(root).root, until, reporter)
    _show(found, json)


@app.command()
def sample(
    model: ModelOption = "pocket",
    batch_sizes: BatchSizesOption = "1,4,16",
    steps: StepsOption = 25,
    device: DeviceOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Pictures a second at several batch sizes, and through diffusers at the largest."""
    from esdctl.timing.sampling_bench import bench_sampling, parse_batch_sizes

    sizes = parse_batch_sizes(batch_sizes)
    with reporting(quiet) as reporter:
        found = bench_sampling(model, find_workspace(root).root, sizes, steps, device, reporter)
    _show(found, json)


@app.command()
def load(
    model: ModelOption = "pocket",
    device: DeviceOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Seconds and memory until a model is open, and through diffusers where it has its layout."""
    from esdctl.timing.loading_bench import bench_loading

    with reporting(quiet) as reporter:
        found = bench_loading(model, find_workspace(root).root, device, reporter)
    _show(found, json)


def _show(report: "Report", json: bool) -> None:
    if json:
        print_json(report.document())
    else:
        print_line(report.markdown().rstrip("\n"))
