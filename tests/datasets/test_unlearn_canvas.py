"""Names as people type them mean what the data set calls them."""

import pytest

from esdctl.datasets.unlearn_canvas import (
    LATER_STYLES,
    OBJECTS,
    STYLES,
    KnownConcept,
    evaluation_prompt,
    find,
    nearest,
)


def test_the_benchmark_has_51_styles_and_20_objects() -> None:
    assert len(set(STYLES)) == 51
    assert len(set(OBJECTS)) == 20
    assert not set(STYLES) & set(LATER_STYLES)


@pytest.mark.parametrize("typed", ["Neon_Lines", "Neon Lines", "neon_lines", " NEON  lines "])
def test_any_spelling_finds_the_style(typed: str) -> None:
    assert find(typed) == KnownConcept("style", "Neon_Lines")


def test_the_other_spelling_of_the_photos_is_known() -> None:
    assert find("Seed_Image") == find("seed images") == KnownConcept("style", "Seed_Images")


def test_objects_and_later_styles_are_known() -> None:
    assert find("dogs") == KnownConcept("object", "Dogs")
    assert find("Palette Knife") == KnownConcept("style", "Palette_Knife")


def test_an_unknown_name_finds_nothing_but_has_near_ones() -> None:
    assert find("Abstractism") is None
    assert nearest("Abstractism")[0] == "Abstractionism"
    assert nearest("VANGOGH") == ["Van_Gogh"]
    assert len(nearest("S_Images", n=1)) == 1
    assert nearest("xyzzy") == []


def test_prompts_have_spaces() -> None:
    assert evaluation_prompt("Van_Gogh", "Dogs") == "A Dogs image in Van Gogh style."
