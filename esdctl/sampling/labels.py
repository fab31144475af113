"""Labels that can be drawn: a font that has their characters, and what stands for the others."""

import unicodedata
from collections.abc import Sequence

from PIL import ImageFont

# Looked for where the system keeps its fonts, if Pillow's own lacks a character of the labels.
SYSTEM_FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf", "arial.ttf",
    "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "PingFang.ttc", "msyh.ttc",
    "Arial Unicode.ttf", "unifont.ttf",
)  # fmt: skip
PLACEHOLDER = "?"
_NOWHERE = "\U0010fffe"  # no character, so every font draws its box for it

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def drawable_labels(labels: Sequence[str], size: int) -> tuple[list[str], Font]:
    """The labels in characters that a font has, and that font.

    Pillow's own font comes first, so that the same English labels give the same sheet anywhere;
    then the font of the system that has the most of the characters. A letter that it lacks is
    drawn without its accents, or as ``?``.

    Args:
        labels: any text.
        size: of the font, in pixels.
    """
    characters = {each for label in labels for each in label}
    best = _load(None, size)
    least = _lacking(characters, best)
    for name in SYSTEM_FONTS if least else ():
        try:
            font = _load(name, size)
        except OSError:  # it is not installed
            continue
        lacking = _lacking(characters, font)
        if len(lacking) < len(least):
            best, least = font, lacking
    stand_ins = {each: _stand_in(each, best) for each in least}
    return ["".join(stand_ins.get(each, each) for each in label) for label in labels], best


def _load(name: str | None, size: int) -> Font:
    return ImageFont.load_default(size) if name is None else ImageFont.truetype(name, size)


def _lacking(characters: set[str], font: Font) -> set[str]:
    return {each for each in characters if not each.isspace() and not _has(font, each)}


def _has(font: Font, character: str) -> bool:
    """Whether a font draws something else for a character than its box for what it lacks."""
    box = font.getmask(_NOWHERE)
    drawn = font.getmask(character)
    return drawn.size != box.size or bytes(drawn) != bytes(box)


def _stand_in(character: str, font: Font) -> str:
    """A letter without its accents; nothing for invisible marks; else ``?``."""
    if unicodedata.category(character) in ("Cf", "Mn", "Me", "Cc"):
        return ""
    bare = "".join(
        each for each in unicodedata.normalize("NFKD", character) if not unicodedata.combining(each)
    )
    is_drawn = bare and bare != character and not _lacking(set(bare), font)
    return bare if is_drawn else PLACEHOLDER
