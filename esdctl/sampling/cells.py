"""UnlearnCanvas's cells: styles x objects x seeds, each with its prompt, its noise and its file.

The benchmark's scripts keep an erased model's pictures as
``<folder>/<erased>/<Style>_<Object>_seed<seed>.jpg``, and its accuracy script reads them so.
There, a run of all cells draws its noise from one generator; here, every cell has its own.
"""

import re
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from esdctl.datasets.prompt_row import MAX_SEED
from esdctl.datasets.unlearn_canvas import EVALUATION_PROMPT, evaluation_prompt
from esdctl.errors import UsageError
from esdctl.models.image_size import trained_size
from esdctl.models.resolve import Pipeline
from esdctl.names import nearest
from esdctl.sampling.plan import (
    Picture,
    SamplePlan,
    SamplingSettings,
    check_count,
    check_settings,
    check_size,
)
from esdctl.sampling.schedulers import DDIM, Scheduler

LAYOUT = "unlearn-canvas"
BASE_FOLDER = "base"  # in place of an erased concept
CELLS_A_SEED = 10_000  # no model knows so many styles x objects


@dataclass(frozen=True)
class Grid:
    """The styles and objects that a model or a classifier knows, and those that are wanted.

    Args:
        styles, objects: all names, in their fixed order, which decides the noise.
        chosen_styles, chosen_objects: those wanted, in the same order.
    """

    styles: tuple[str, ...]
    objects: tuple[str, ...]
    chosen_styles: tuple[str, ...]
    chosen_objects: tuple[str, ...]

    def noise_seed(self, style: str, object_name: str, seed: int) -> int:
        """The seed of a cell's noise: ``10000 seed + cell``, with cells counted in the whole grid.

        No two pictures of an evaluation share their noise, and a part of the grid holds the same
        pictures as the whole.
        """
        cell = self.styles.index(style) * len(self.objects) + self.objects.index(object_name)
        return seed * CELLS_A_SEED + cell


def plan_grid(
    styles: Sequence[str],
    objects: Sequence[str],
    wanted_styles: Sequence[str] | None,
    wanted_objects: Sequence[str] | None,
    known_by: str,
) -> Grid:
    """Choose from the styles and objects that a model or classifier knows.

    Args:
        styles, objects: all names.
        wanted_styles, wanted_objects: in any spelling; None for all.
        known_by: what to call the one that knows them, in an error.

    Raises:
        UsageError: a name is unknown; says which are near.
    """
    return Grid(
        tuple(styles),
        tuple(objects),
        _chosen(wanted_styles, styles, "style", known_by),
        _chosen(wanted_objects, objects, "object", known_by),
    )


@dataclass(frozen=True)
class CellSettings:
    """How the pictures of all cells are made.

    Args:
        steps: of the scheduler.
        guidance: the guidance scale.
        image_size: side in pixels.
        scheduler: what solves the equation from noise to picture.
    """

    steps: int
    guidance: float
    image_size: int
    scheduler: Scheduler = DDIM


def plan_cells(
    pipeline: Pipeline, grid: Grid, seeds: Sequence[int], settings: CellSettings
) -> SamplePlan:
    """The pictures of a grid, under the benchmark's prompts and file names.

    Args:
        pipeline: the model.
        grid: the cells.
        seeds: each cell is sampled once with each of them.
        settings: of all pictures.

    Raises:
        UsageError: a number is out of range.
    """
    check_seeds(seeds)
    check_count(len(grid.chosen_styles) * len(grid.chosen_objects) * len(seeds))
    steps, guidance, size, scheduler = astuple(settings)
    check_settings(SamplingSettings(None, guidance, steps, size, scheduler))
    check_size(size, trained_size(pipeline))
    pictures = tuple(
        cell_picture(
            style, name, grid.noise_seed(style, name, seed), settings, file_name(style, name, seed)
        )
        for style in grid.chosen_styles
        for name in grid.chosen_objects
        for seed in seeds
    )
    return SamplePlan(pipeline.name, pipeline.identity(), pictures)


def cell_picture(
    style: str,
    object_name: str,
    noise_seed: int,
    settings: CellSettings,
    file: str,
    wording: str = EVALUATION_PROMPT,
) -> Picture:
    """The picture of one cell, by the name ``file``."""
    return Picture(
        file=file,
        prompt=evaluation_prompt(style, object_name, wording),
        seed=noise_seed,
        guidance=settings.guidance,
        steps=settings.steps,
        width=settings.image_size,
        height=settings.image_size,
        scheduler=settings.scheduler,
    )


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that leave no room for the cells' own.

    Raises:
        UsageError: one is out of range.
    """
    largest = MAX_SEED // CELLS_A_SEED - 1
    if not seeds or not all(0 <= seed <= largest for seed in seeds):
        raise UsageError("--seeds: a seed is out of range", f"use 0 to {largest}")


def file_name(style: str, object_name: str, seed: int) -> str:
    """The benchmark's name for a cell's picture; ``seed`` is the user's."""
    return f"{style}_{object_name}_seed{seed}.jpg"


def folder_name(pipeline: Pipeline, concepts: Sequence[str]) -> str:
    """The folder of a model's pictures: what was erased from it, ``base`` for a base.

    Args:
        pipeline: the model.
        concepts: what its metadata says was erased; none where it does not say so.
    """
    if pipeline.delta is None and not concepts:
        return BASE_FOLDER
    named = "+".join(concepts) or (pipeline.delta.stem if pipeline.delta else "")
    return re.sub(r"[^\w.+-]+", "_", named).strip(".") or BASE_FOLDER


def known_name(wanted: str, names: Sequence[str], kind: str, known_by: str) -> str:
    """The spelling of a name that is known; ``neon lines`` means ``Neon_Lines``.

    Raises:
        UsageError: it is unknown; says which are near.
    """
    by_key = {_key(name): name for name in names}
    if _key(wanted) in by_key:
        return by_key[_key(wanted)]
    near = nearest(wanted, names)
    hint = f"nearest known: {', '.join(near)}" if near else f"known: {', '.join(names)}"
    raise UsageError(f"the {known_by} knows no {kind} {wanted!r}", hint)


def _chosen(
    wanted: Sequence[str] | None, names: Sequence[str], kind: str, known_by: str
) -> tuple[str, ...]:
    """The wanted names in the known spelling and order; all of them where none is wanted."""
    if wanted is None:
        return tuple(names)
    chosen = {known_name(name, names, kind, known_by) for name in wanted}
    return tuple(name for name in names if name in chosen)


def _key(name: str) -> str:
    return "_".join(name.replace("_", " ").split()).casefold()
