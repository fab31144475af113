"""A contact sheet: pictures in labelled rows and columns, such as base and erased side by side."""

import math
from collections.abc import Sequence
from typing import TypeVar

from PIL import Image, ImageDraw

from esdctl.sampling.labels import Font, drawable_labels

GAP = 6  # pixels between pictures
LINE_SPACING = 4
MAX_LINES = 4  # of a label; the rest becomes an ellipsis
PAPER, INK = "white", "black"
SIDE = 160  # pixels of a picture's square
COLUMNS_TEXT = "esdctl.columns"  # a PNG's text: JSON of what the columns show

Item = TypeVar("Item")


def contact_sheet(
    pictures: Sequence[Sequence[Image.Image | None]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    side: int = SIDE,
    font_size: int = 14,
) -> Image.Image:
    """Lay pictures out in a grid with a label at each row and above each column.

    Args:
        pictures: rows of equal length; None leaves a place empty.
        row_labels: one a row; all "" leaves out their column.
        column_labels: one a column; all "" leaves out their line.
        side: each picture fits into a square of so many pixels.
        font_size: of the labels, in pixels.

    Returns:
        The sheet, RGB.

    Raises:
        ValueError: labels and pictures differ in number, or there is no picture.
    """
    if not pictures or not pictures[0]:
        raise ValueError("a contact sheet needs a picture")
    if len(row_labels) != len(pictures) or any(len(r) != len(column_labels) for r in pictures):
        raise ValueError("each row and each column needs its label")
    labels, font = drawable_labels([*column_labels, *row_labels], font_size)
    heads = [_wrap(label, side, font) for label in labels[: len(column_labels)]]
    flanks = [_wrap(label, side, font) for label in labels[len(column_labels) :]]
    head = max(_text_size(text, font)[1] for text in heads)
    flank = max(_text_size(text, font)[0] for text in flanks)
    left, top = flank + (GAP if flank else 0), head + (GAP if head else 0)
    pitch = side + GAP
    sheet = Image.new(
        "RGB", (GAP + left + pitch * len(heads), GAP + top + pitch * len(flanks)), PAPER
    )
    draw = ImageDraw.Draw(sheet)
    for column, text in enumerate(heads):
        middle = GAP + left + pitch * column + side / 2
        _write(draw, (middle, GAP + head), text, font, anchor="md")
    for row, text in enumerate(flanks):
        middle = GAP + top + pitch * row + side / 2
        _write(draw, (GAP, middle), text, font, anchor="lm")
        for column, picture in enumerate(pictures[row]):
            if picture is not None:
                corner = (GAP + left + pitch * column, GAP + top + pitch * row)
                _paste(sheet, picture, corner, side)
    return sheet


Box = tuple[int, int, int, int]  # left, upper, right, lower, in pixels


def squares_of_sheet(size: tuple[int, int], rows: int, side: int = SIDE) -> list[list[Box]]:
    """Where the pictures of a ``contact_sheet`` are, a list a row.

    The squares end at the right and the lower edge, wherever the labels make them begin.

    Args:
        size: width and height of the sheet, in pixels.
        rows: of the sheet; their labels are narrower than a square.
        side: of a square, as the sheet was made with.
    """
    (width, height), pitch = size, side + GAP
    columns = (width - GAP) // pitch
    lefts = [width - pitch * (columns - i) for i in range(columns)]
    tops = [height - pitch * (rows - i) for i in range(rows)]
    return [[(left, top, left + side, top + side) for left in lefts] for top in tops]


def captioned_sheet(
    pictures: Sequence[Image.Image],
    captions: Sequence[str],
    columns: int,
    side: int = 160,
    font_size: int = 14,
    title: str = "",
) -> Image.Image:
    """Lay pictures out from left to right in lines of ``columns``, a caption above each.

    Args:
        pictures: at least one.
        captions: one a picture.
        columns: pictures a line, at least 1.
        side: each picture fits into a square of so many pixels.
        font_size: of the captions, in pixels.
        title: above all of them; "" for none.

    Returns:
        The sheet, RGB.

    Raises:
        ValueError: captions and pictures differ in number, or there is no picture.
    """
    strips = [
        contact_sheet(
            [_padded(pictures[start : start + columns], columns)],
            [""],
            [label or "" for label in _padded(captions[start : start + columns], columns)],
            side,
            font_size,
        )
        for start in range(0, max(len(pictures), len(captions)), columns)
    ]
    if not strips or len(pictures) != len(captions):
        raise ValueError("each picture needs its caption")
    if title:
        strips.insert(0, _title(title, strips[0].width, font_size))
    sheet = Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)), PAPER)
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


def square_columns(count: int, together: int = 1) -> int:
    """How many pictures a line make a sheet about as wide as high.

    Args:
        count: of the pictures, at least 1.
        together: so many belong together; where it can, a line has a multiple of them, or a part.
    """
    columns = math.ceil(math.sqrt(count))
    if together <= 1 or count <= together:
        return columns
    fitting = [each for each in range(1, count + 1) if each % together == 0 or together % each == 0]
    nearest = min(fitting, key=lambda each: abs(each - columns))
    return nearest if columns <= 2 * nearest <= 4 * columns else columns


def _title(text: str, width: int, font_size: int) -> Image.Image:
    (label,), font = drawable_labels([text], font_size)
    wrapped = _wrap(label, width - 2 * GAP, font)
    bottom = GAP + _text_size(wrapped, font)[1]
    strip = Image.new("RGB", (width, bottom + GAP), PAPER)
    _write(ImageDraw.Draw(strip), (GAP, bottom), wrapped, font, anchor="ld")
    return strip


def _padded(items: Sequence[Item], length: int) -> list[Item | None]:
    return [*items, *[None] * (length - len(items))]


def _paste(sheet: Image.Image, picture: Image.Image, corner: tuple[int, int], side: int) -> None:
    """Put a picture into the middle of its square; enlarge by copying pixels, shrink smoothly."""
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    method = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    left, top = (corner[i] + (side - size[i]) // 2 for i in range(2))
    sheet.paste(picture.convert("RGB").resize(size, method), (left, top))


def _wrap(label: str, width: int, font: Font) -> str:
    """Break a label into lines of at most ``width`` pixels."""
    lines = [""]
    for word in label.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    shown = [_cut(line, width, font) for line in lines[:MAX_LINES]]
    if len(lines) > MAX_LINES:
        shown[-1] = _cut(shown[-1] + " …", width, font)
    return "\n".join(shown)


def _cut(line: str, width: int, font: Font) -> str:
    """Shorten a line that is too wide, with an ellipsis."""
    if font.getlength(line) <= width:
        return line
    kept = line.rstrip(" …")
    while kept and font.getlength(kept + "…") > width:
        kept = kept[:-1]
    return kept + "…"


def _text_size(text: str, font: Font) -> tuple[int, int]:
    """Width and height of lines of text, in pixels; (0, 0) for none."""
    if not text:
        return (0, 0)
    board = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left, top, right, bottom = board.multiline_textbbox((0, 0), text, font, spacing=LINE_SPACING)
    return (int(right - left) + 1, int(bottom - top) + 1)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, font: Font, anchor: str
) -> None:
    align = "center" if anchor.startswith("m") else "left"
    draw.multiline_text(at, text, INK, font, anchor, LINE_SPACING, align)
