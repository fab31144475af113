"""UnlearnCanvas (Zhang et al. 2024): its styles, its objects, and the prompts made from them."""

from dataclasses import dataclass
from typing import Literal

from esdctl import names

# How the benchmark samples an erased model: DDIM, and one picture a cell with each seed.
BENCHMARK_STEPS, BENCHMARK_GUIDANCE, BENCHMARK_SIZE = 100, 9.0, 512

# What it asks for in an evaluation; the names are spoken, with spaces.
EVALUATION_PROMPT = "A {object} image in {style} style."

SEED_STYLE = "Seed_Images"  # the unstylised photos

STYLES = (
    "Abstractionism", "Artist_Sketch", "Blossom_Season", "Bricks", "Byzantine", "Cartoon",
    "Cold_Warm", "Color_Fantasy", "Comic_Etch", "Crayon", "Cubism", "Dadaism", "Dapple",
    "Defoliation", "Early_Autumn", "Expressionism", "Fauvism", "French", "Glowing_Sunset",
    "Gorgeous_Love", "Greenfield", "Impressionism", "Ink_Art", "Joy", "Liquid_Dreams",
    "Magic_Cube", "Meta_Physics", "Meteor_Shower", "Monet", "Mosaic", "Neon_Lines", "On_Fire",
    "Pastel", "Pencil_Drawing", "Picasso", "Pop_Art", "Red_Blue_Ink", "Rust", SEED_STYLE,
    "Sketch", "Sponge_Dabbed", "Structuralism", "Superstring", "Surrealism", "Ukiyoe",
    "Van_Gogh", "Vibrant_Flow", "Warm_Love", "Warm_Smear", "Watercolor", "Winter",
)  # fmt: skip

# Styles of a later release: known names, but no part of the benchmark.
LATER_STYLES = (
    "Blue_Blooming", "Crypto_Punks", "Dreamweave", "Foliage_Patchwork", "Impasto",
    "Palette_Knife", "Pointillism", "Rainwash", "Realistic_Watercolor", "Techno",
)  # fmt: skip

OBJECTS = (
    "Architectures", "Bears", "Birds", "Butterfly", "Cats", "Dogs", "Fishes", "Flame", "Flowers",
    "Frogs", "Horses", "Human", "Jellyfish", "Rabbits", "Sandwiches", "Sea", "Statues", "Towers",
    "Trees", "Waterfalls",
)  # fmt: skip

_OTHER_SPELLINGS = {"seed_image": SEED_STYLE}


@dataclass(frozen=True)
class KnownConcept:
    """A concept that the data set names.

    Args:
        kind: what the name names.
        name: in the data set's own spelling, such as ``Neon_Lines``.
    """

    kind: Literal["style", "object"]
    name: str


def find(name: str) -> KnownConcept | None:
    """The concept that a name means; ``Neon Lines`` and ``neon_lines`` mean ``Neon_Lines``."""
    return _KNOWN.get(_key(name))


def nearest(name: str, n: int = 3) -> list[str]:
    """The ``n`` known names most like ``name``, best first; fewer when few are like it."""
    keys = names.nearest(name, _KNOWN, n + 1)
    return list(dict.fromkeys(_KNOWN[key].name for key in keys))[:n]


def evaluation_prompt(style: str, object_name: str, wording: str = EVALUATION_PROMPT) -> str:
    """The benchmark's prompt for one style and one object, or one in another wording."""
    return wording.replace("{style}", _with_spaces(style)).replace(
        "{object}", _with_spaces(object_name)
    )


def _key(name: str) -> str:
    return "_".join(name.replace("_", " ").split()).casefold()


def _with_spaces(name: str) -> str:
    return name.replace("_", " ")


_KNOWN: dict[str, KnownConcept] = {
    **{_key(style): KnownConcept("style", style) for style in (*STYLES, *LATER_STYLES)},
    **{_key(name): KnownConcept("object", name) for name in OBJECTS},
    **{key: KnownConcept("style", style) for key, style in _OTHER_SPELLINGS.items()},
}
