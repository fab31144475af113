"""A row of prompts: the text, and what its columns say about the picture."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from esdctl.errors import InputError

MAX_SEED = 2**63 - 1  # what a torch generator takes

# Our name for a column, ESD's own, and that of the I2P release; the first one present counts.
SEED_COLUMNS = ("seed", "evaluation_seed", "sd_seed")
GUIDANCE_COLUMNS = ("guidance", "evaluation_guidance", "sd_guidance_scale")
WIDTH_COLUMNS = ("width", "sd_image_width")
HEIGHT_COLUMNS = ("height", "sd_image_height")
NUMBER_COLUMNS = {*SEED_COLUMNS, *GUIDANCE_COLUMNS, *WIDTH_COLUMNS, *HEIGHT_COLUMNS}

Number = TypeVar("Number", int, float)
Fields = Mapping[str, str]


@dataclass(frozen=True)
class PromptRow:
    """One prompt and what its row says about the picture; None where it says nothing.

    Args:
        prompt: the text.
        seed: 0 to 2**63 - 1.
        guidance: scale, finite and not negative.
        width, height: pixels, multiples of 8.
        extra: every other column, as text.
    """

    prompt: str
    seed: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


def row_of(fields: Fields, place: str) -> PromptRow:
    """A row of a table.

    Args:
        fields: its columns; there is one ``prompt``.
        place: the file and its line, for errors.

    Raises:
        InputError: a value is bad, or the prompt is not valid Unicode.
    """
    prompt = checked_text(fields["prompt"], place)
    prompt = prompt if prompt.strip() else ""  # I2P's "Null", in many copies
    known = {"prompt", *NUMBER_COLUMNS}
    return PromptRow(
        prompt,
        seed=_number(fields, SEED_COLUMNS, _seed, place),
        guidance=_number(fields, GUIDANCE_COLUMNS, _guidance, place),
        width=_number(fields, WIDTH_COLUMNS, _pixels, place),
        height=_number(fields, HEIGHT_COLUMNS, _pixels, place),
        extra={name: value for name, value in fields.items() if name not in known},
    )


def checked_text(text: str, place: str) -> str:
    """Refuse lone surrogates: JSON escapes and command lines can carry them, UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{place}: the prompt is not valid Unicode") from error
    return text


def _number(
    fields: Fields, columns: tuple[str, ...], parse: Callable[[str], Number], place: str
) -> Number | None:
    """The first of ``columns`` that is present and not blank, as a number."""
    for column in columns:
        text = fields.get(column, "").strip()
        if not text:
            continue
        try:
            return parse(text)
        except ValueError as error:
            raise InputError(f"{place}: {column} is {text!r}, {error}") from None
    return None


def _seed(text: str) -> int:
    seed = _whole(text, "but a seed is a whole number")
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"but a seed lies between 0 and {MAX_SEED}")
    return seed


def _guidance(text: str) -> float:
    try:
        guidance = float(text)
    except ValueError:
        guidance = math.nan
    if not math.isfinite(guidance) or guidance < 0:
        raise ValueError("but guidance is a number of at least 0")
    return guidance


def _pixels(text: str) -> int:
    pixels = _whole(text, "but a size is a whole number")
    if pixels <= 0 or pixels % 8:
        raise ValueError("but a size is a multiple of 8")
    return pixels


def _whole(text: str, complaint: str) -> int:
    """A whole number; tables that went through floating point write ``512.0``."""
    digits = text.removesuffix(".0")
    if not (digits.removeprefix("-").isascii() and digits.removeprefix("-").isdigit()):
        raise ValueError(complaint)
    if len(digits) > 20:  # more than any seed has; int() refuses thousands of digits by itself
        raise ValueError("which is too large")
    return int(digits)
