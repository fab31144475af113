"""The options of UnlearnCanvas's cells, which sample and evaluate share, and how they are read."""

from typing import TYPE_CHECKING, Annotated

import typer

from esdctl.errors import UsageError
from esdctl.settings.choice import one_of

if TYPE_CHECKING:
    from esdctl.models.resolve import Pipeline
    from esdctl.sampling.plan import SamplePlan, SamplingSettings

LAYOUT = "unlearn-canvas"

LayoutOption = Annotated[
    str | None,
    typer.Option(
        "--layout",
        metavar=LAYOUT,
        help="UnlearnCanvas's pictures: FOLDER/ERASED/STYLE_OBJECT_seedN.jpg, with its prompts.",
    ),
]
StylesOption = Annotated[
    str | None, typer.Option("--styles", metavar="A,B", help="These styles; else all.")
]
ObjectsOption = Annotated[
    str | None, typer.Option("--objects", metavar="A,B", help="These objects; else all.")
]


def is_layout(text: str | None) -> bool:
    """Whether the benchmark's layout is asked for.

    Raises:
        UsageError: another one is.
    """
    return text is not None and one_of("--layout", text, [LAYOUT]) == LAYOUT


def names_in(flag: str, text: str | None) -> tuple[str, ...] | None:
    """The names of a list such as ``Cats,Dogs``; None where none is given.

    Raises:
        UsageError: a name is empty.
    """
    if text is None:
        return None
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(f"{flag} {text!r} has an empty name", f"write {flag} A,B")
    return names


def plan_layout(
    pipeline: "Pipeline",
    styles: str | None,
    objects: str | None,
    wanted: "SamplingSettings",
) -> "tuple[SamplePlan, str]":
    """The benchmark's pictures by one model, and the name of their folder.

    What is left out is as the benchmark has it; of pocket, whose pictures are smaller, as the
    other samples are.
    """
    from esdctl.datasets import unlearn_canvas
    from esdctl.erasing.concepts import Catalogue, read_catalogue
    from esdctl.models.erased_concepts import erased_from
    from esdctl.models.image_size import trained_size
    from esdctl.sampling import defaults
    from esdctl.sampling.cells import CellSettings, folder_name, plan_cells, plan_grid

    of_benchmark = Catalogue(unlearn_canvas.STYLES, unlearn_canvas.OBJECTS)
    known = read_catalogue(pipeline.folder) or of_benchmark
    grid = plan_grid(
        known.styles, known.objects, names_in("--styles", styles), names_in("--objects", objects),
        "model",
    )  # fmt: skip
    side = trained_size(pipeline)
    if pipeline.is_embedded:
        usual = (defaults.DEFAULT_STEPS, defaults.POCKET_GUIDANCE, side)
    else:
        largest = unlearn_canvas.BENCHMARK_SIZE
        usual = (
            unlearn_canvas.BENCHMARK_STEPS, unlearn_canvas.BENCHMARK_GUIDANCE, min(side, largest)
        )  # fmt: skip
    settings = CellSettings(
        usual[0] if wanted.steps is None else wanted.steps,
        usual[1] if wanted.guidance is None else wanted.guidance,
        usual[2] if wanted.image_size is None else wanted.image_size,
        wanted.scheduler,
    )
    plan = plan_cells(pipeline, grid, wanted.seeds or (defaults.DEFAULT_SEED,), settings)
    return plan, folder_name(pipeline, erased_from(pipeline))
