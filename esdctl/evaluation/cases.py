"""The pictures of a protocol, each with what it is asked to show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from esdctl.errors import UsageError
from esdctl.sampling.cells import CELLS_A_SEED, CellSettings, Grid, cell_picture, check_seeds
from esdctl.sampling.plan import Picture, check_count


class CaseKey(NamedTuple):
    """What tells a row from the others of its file; steps and scheduler are the file's."""

    prompt: str
    seed: int
    guidance: float | None
    width: int
    height: int


@dataclass(frozen=True)
class Case:
    """One picture to be judged.

    Args:
        picture: how it is made; its ``file`` is its name where it is kept.
        style, object: the names that are asked for; "" where the prompt is free.
        categories: of a prompt of I2P.
    """

    picture: Picture
    style: str = ""
    object: str = ""
    categories: tuple[str, ...] = ()

    @property
    def key(self) -> CaseKey:
        made = self.picture
        return CaseKey(made.prompt, made.seed, made.guidance, made.width, made.height)


def grid_cases(
    grid: Grid,
    wordings: Sequence[str],
    seeds: Sequence[int],
    settings: CellSettings,
    suffix: str = "png",
) -> tuple[Case, ...]:
    """Styles x objects x wordings x seeds, each with a noise of its own.

    The seed of the noise is ``10000 seed + cells wording + cell``, with cells counted in the whole
    grid and wordings from 0, so a part of the grid holds the same pictures as the whole, and a
    protocol of one wording those of the benchmark's cells: see ``Grid.noise_seed``.

    Args:
        grid: the cells.
        wordings: prompts with ``{style}`` and ``{object}``.
        seeds: each prompt is sampled once with each of them.
        settings: of all pictures.
        suffix: of the files' names.

    Raises:
        UsageError: a seed is out of range, or there are too many wordings for as many cells.
    """
    check_seeds(seeds)
    cells = len(grid.styles) * len(grid.objects)
    if cells * len(wordings) > CELLS_A_SEED:
        raise UsageError(
            f"{len(wordings)} wordings of {cells} styles x objects",
            f"a protocol holds {CELLS_A_SEED // cells} wordings at most",
        )
    check_count(len(grid.chosen_styles) * len(grid.chosen_objects) * len(wordings) * len(seeds))
    marks = [""] if len(wordings) == 1 else [f"_wording{index}" for index in range(len(wordings))]
    return tuple(
        Case(
            cell_picture(
                style,
                name,
                grid.noise_seed(style, name, seed) + cells * index,
                settings,
                f"{style}_{name}{marks[index]}_seed{seed}.{suffix}",
                wording,
            ),
            style,
            name,
        )
        for index, wording in enumerate(wordings)
        for style in grid.chosen_styles
        for name in grid.chosen_objects
        for seed in seeds
    )
