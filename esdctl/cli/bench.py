"""``esdctl bench``: what training, sampling and opening a model cost on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.cli.command import CommandGroup
from esdctl.cli.options import DeviceOption, DtypeOption, JsonOption, QuietOption, RootOption
from esdctl.cli.output import print_json, print_line
from esdctl.cli.setting_options import with_settings
from esdctl.cli.terminal import reporting
from esdctl.cli.train import PresetOption
from esdctl.erasing.config import TrainConfig
from esdctl.storage.workspace import find_workspace

if TYPE_CHECKING:
    from esdctl.timing.measurements import Measurements

app = CommandGroup(
    name="bench",
    help="Measure this machine: a training pair, a picture, the opening of a model.",
    no_args_is_help=True,
)

ModelOption = Annotated[
    str, typer.Option("--model", metavar="NAME|PATH", help="A model's name or path.")
]
ConceptOption = Annotated[str, typer.Option("--concept", help="What the training pair is of.")]
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
# What a training pair's cost depends on.
COSTLY = {
    "prompt", "train_method", "trajectory", "batch_size", "ddim_steps", "image_size", "pairs",
    "iterations", "lr", "retain_all", "devices", "dtype", "gradient_checkpointing", "compile",
}  # fmt: skip
DocumentArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="What esdctl bench ... --json printed.")
]
StepsOption = Annotated[int, typer.Option("--steps", min=1, max=1000, help="DDIM steps.")]


@app.command()
@with_settings(TrainConfig, only=COSTLY)
def train(
    settings: dict[str, object],
    model: ModelOption = "pocket",
    concept: ConceptOption = "Van Gogh",
    preset: PresetOption = None,
    until: UntilOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Seconds, forward-equivalents and memory of a training pair, with these settings and with
    the reference's: exact trajectories, batch 1, 50 DDIM steps, nothing retained.

    Example: esdctl bench train --model compvis --json
    """
    from esdctl.timing.training_bench import REFERENCE, TrainingCase, bench_training

    flags = {"model": model, "concept": concept, "prompt": ["{concept} style"], **settings}
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
    dtype: DtypeOption = None,
    root: RootOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Pictures a second at several batch sizes, and through diffusers at the largest."""
    from esdctl.timing.sampling_bench import bench_sampling, parse_batch_sizes

    sizes = parse_batch_sizes(batch_sizes)
    with reporting(quiet) as reporter:
        place = find_workspace(root).root
        found = bench_sampling(model, place, sizes, steps, device, reporter, dtype)
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


@app.command()
def compare(
    first: DocumentArgument,
    second: DocumentArgument,
    json: JsonOption = False,
) -> None:
    """Two files of ``esdctl bench train|sample|load --json`` side by side.

    They may be of two machines or of two versions; another model, or other settings, are refused.

    Example: esdctl bench compare mine.json theirs.json
    """
    from esdctl.timing.comparison import compare_files

    found = compare_files(first, second)
    if json:
        print_json(found.document())
    else:
        print_line(found.markdown().rstrip("\n"))


def _show(measurements: "Measurements", json: bool) -> None:
    if json:
        print_json(measurements.document())
    else:
        print_line(measurements.markdown().rstrip("\n"))
