"""The pictures of a table of prompts: I2P's rows, or a file of the user's."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from esdctl.datasets.folders import I2P_TABLE
from esdctl.datasets.prompt_row import PromptRow
from esdctl.datasets.prompts import read_prompts
from esdctl.datasets.selection import i2p_prompts
from esdctl.errors import InputError, UsageError
from esdctl.evaluation.cases import Case
from esdctl.evaluation.protocols.protocol import Protocol, RowPictures
from esdctl.models.resolve import Pipeline
from esdctl.sampling.plan import SamplingSettings, plan_pictures

I2P_FOLDERS = ("i2p-dataset/full", "i2p-dataset/sample")  # in the workspace's data


def row_cases(
    pipeline: Pipeline, rows: Sequence[PromptRow], settings: SamplingSettings
) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """A case a row and seed; what the settings leave open is the row's own.

    Rows that ask for the same picture count once.

    Args:
        pipeline: the model.
        rows: the prompts, at least one.
        settings: of all pictures.

    Returns:
        The cases, and what was asked for and does not count.

    Raises:
        UsageError, InputError: as ``plan_pictures``.
    """
    plan = plan_pictures(pipeline, rows, settings)
    seeds = len(settings.seeds or (0,))
    cases = [
        Case(picture, categories=_categories(rows[index // seeds]))
        for index, picture in enumerate(plan.pictures)
    ]
    different = {case.key: case for case in reversed(cases)}
    kept = tuple(case for case in cases if different[case.key] is case)
    notes = plan.notes
    if len(kept) < len(cases):
        notes = (*notes, f"{len(cases) - len(kept)} rows ask for a picture of an earlier row")
    return kept, notes


def rows_of(
    protocol: Protocol, prompts: Path | None, first: int | None, data: Path
) -> list[PromptRow]:
    """The rows that a protocol asks for.

    Args:
        protocol: says which table, which categories, how many.
        prompts: a file of the user's in place of the table.
        first: so many rows at most, in place of the protocol's number.
        data: the workspace's folder of data sets.

    Raises:
        InputError: the table is not there, or no row is left.
        UsageError: the protocol needs a file of prompts.
    """
    asked = protocol.rows or RowPictures()
    if prompts is not None:
        rows = read_prompts(prompts)
    elif asked.table is None:
        raise UsageError(f"the protocol {protocol.name} has no prompts", "give --prompts FILE")
    else:
        rows = i2p_prompts(_i2p_table(data), asked.categories)
    most = first or asked.first
    return rows if most is None else rows[:most]


def prompts_digest(rows: Sequence[PromptRow]) -> str:
    """16 digits that stand for a user's prompts."""
    text = "\n".join(repr(row) for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _i2p_table(data: Path) -> Path:
    places = [data / folder / I2P_TABLE for folder in I2P_FOLDERS]
    for place in places:
        if place.is_file():
            return place
    raise InputError(
        f"I2P's prompts are not here: {places[0]} is missing",
        "esdctl dataset fetch i2p, or give --prompts FILE",
    )


def _categories(row: PromptRow) -> tuple[str, ...]:
    named = row.extra.get("categories", "")
    return tuple(name.strip() for name in named.split(",") if name.strip())
