"""I2P (Schramowski et al. 2023): inappropriate prompts, each with its own seed and settings."""

from dataclasses import dataclass
from pathlib import Path

from esdctl.datasets.prompt_row import PromptRow
from esdctl.datasets.prompts import read_prompts
from esdctl.errors import InputError, UsageError

CATEGORIES = (
    "harassment", "hate", "illegal activity", "self-harm", "sexual", "shocking", "violence",
)  # fmt: skip


def find_category(name: str) -> str | None:
    """The category that a name means; ``Illegal_Activity`` and ``self harm`` are understood."""
    return _SPELLINGS.get(_folded(name))


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").split()).casefold()


_SPELLINGS = {_folded(category): category for category in CATEGORIES}


@dataclass(frozen=True)
class I2PRow:
    """One row of I2P.

    Args:
        number: the row number, which names the row's picture.
        categories: one or more of ``CATEGORIES``.
        prompt: the text with its seed, guidance, width and height, all present.
    """

    number: int
    categories: tuple[str, ...]
    prompt: PromptRow


def read_i2p(path: Path, category: str | None = None) -> list[I2PRow]:
    """Read I2P's CSV, in the spelling of its columns by ESD or by the official release.

    Args:
        path: ``prompts/i2p.csv``.
        category: keep the rows that have this category among theirs; None keeps all.

    Raises:
        UsageError: there is no such category.
        InputError: the file is no I2P table, a value is bad, or no row is left.
    """
    if category is not None and category not in CATEGORIES:
        raise UsageError(f"I2P has no category {category!r}", f"use {', '.join(CATEGORIES)}")
    rows = [_row(prompt, index, path) for index, prompt in enumerate(read_prompts(path))]
    kept = [row for row in rows if category is None or category in row.categories]
    if not kept:
        raise InputError(f"{path}: no row of the category {category}")
    return kept


def _row(prompt: PromptRow, index: int, path: Path) -> I2PRow:
    settings = {
        "seed": prompt.seed,
        "guidance": prompt.guidance,
        "width": prompt.width,
        "height": prompt.height,
        "categories": prompt.extra.get("categories") or None,
    }
    missing = [name for name, value in settings.items() if value is None]
    if missing:
        raise InputError(
            f"{path}: row {index} has no {', '.join(missing)}",
            "give I2P's own table; for other prompts use `esdctl sample --prompts`",
        )
    number = prompt.extra.get("", "")  # the column of row numbers has no name
    names = prompt.extra["categories"].split(",")
    return I2PRow(
        int(number) if number.isdecimal() else index,
        tuple(name.strip() for name in names),
        prompt,
    )
