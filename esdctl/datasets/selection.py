"""Prompts of a data set, narrowed by style, object or category."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from esdctl.datasets import unlearn_canvas
from esdctl.datasets.i2p import CATEGORIES, I2PRow, read_i2p
from esdctl.datasets.prompt_row import PromptRow
from esdctl.errors import InputError, UsageError

ALL_CELLS = tuple(
    (style, thing) for style in unlearn_canvas.STYLES for thing in unlearn_canvas.OBJECTS
)


def unlearn_canvas_prompts(
    cells: Iterable[tuple[str, str]] = ALL_CELLS,
    styles: Sequence[str] = (),
    objects: Sequence[str] = (),
) -> list[PromptRow]:
    """The benchmark's prompt of each style and object.

    Args:
        cells: pairs of a style and an object; others are never given.
        styles, objects: in any spelling; none means all.

    Raises:
        UsageError: the data set knows no such style or object.
        InputError: nothing is left.
    """
    kept_styles = [_known(name, "style") for name in styles]
    kept_objects = [_known(name, "object") for name in objects]
    rows = [
        PromptRow(
            unlearn_canvas.evaluation_prompt(style, thing), extra={"style": style, "object": thing}
        )
        for style, thing in cells
        if _is_among(style, kept_styles) and _is_among(thing, kept_objects)
    ]
    if not rows:
        raise InputError(
            f"no picture of {', '.join((*kept_styles, *kept_objects))} is there",
            "`esdctl dataset info` tells what is",
        )
    return rows


def i2p_prompts(table: Path, categories: Sequence[str] = ()) -> list[PromptRow]:
    """I2P's prompts with their own seed, guidance and size.

    Args:
        table: ``prompts/i2p.csv``.
        categories: a row is kept when it has one of them; none means all.

    Raises:
        UsageError: there is no such category.
        InputError: the file is no I2P table, or nothing is left.
    """
    for name in categories:
        if name not in CATEGORIES:
            raise UsageError(f"I2P has no category {name!r}", f"use {', '.join(CATEGORIES)}")
    wanted = set(categories or CATEGORIES)
    rows = [_labelled(row) for row in read_i2p(table) if wanted & set(row.categories)]
    if not rows:
        raise InputError(f"{table}: no row of the category {' or '.join(categories)}")
    return rows


def _labelled(row: I2PRow) -> PromptRow:
    """The prompt with its row number and categories, and without I2P's other columns."""
    prompt = row.prompt
    extra = {"number": str(row.number), "categories": ", ".join(row.categories)}
    return PromptRow(
        prompt.prompt, prompt.seed, prompt.guidance, prompt.width, prompt.height, extra
    )


def _known(name: str, kind: str) -> str:
    found = unlearn_canvas.find(name)
    if found is None or found.kind != kind:
        near = [
            known.name
            for other in unlearn_canvas.nearest(name, n=5)
            if (known := unlearn_canvas.find(other)) and known.kind == kind
        ]
        hint = f"did you mean {near[0]}?" if near else "`esdctl dataset info` lists them"
        raise UsageError(f"UnlearnCanvas has no {kind} {name!r}", hint)
    return found.name


def _is_among(name: str, kept: Collection[str]) -> bool:
    if not kept:
        return True
    known = unlearn_canvas.find(name)
    return (known.name if known else name) in kept
