"""The drawn pictures: a function of (style, object, seed), each style and object its own."""

import itertools

import numpy as np
import pytest

from esdctl.datasets.unlearn_canvas import OBJECTS as BENCHMARK_OBJECTS
from esdctl.datasets.unlearn_canvas import STYLES as BENCHMARK_STYLES
from esdctl.pocket.canvas import OBJECTS, STYLE_NAMES, draw

NAMED = (
    "Seed_Images", "Abstractionism", "Mosaic", "Sketch", "Neon_Lines", "Watercolor", "Pop_Art",
    "Bricks", "Rust", "Winter", "Red_Blue_Ink", "Van_Gogh", "Cartoon",
)  # fmt: skip


def test_the_canvas_has_the_benchmarks_objects_and_styles() -> None:
    assert OBJECTS == BENCHMARK_OBJECTS
    assert set(NAMED) <= set(STYLE_NAMES) <= set(BENCHMARK_STYLES)


@pytest.mark.parametrize("style", STYLE_NAMES)
def test_a_picture_depends_on_style_object_and_seed_alone(style: str) -> None:
    one = draw(style, "Dogs", 7)
    assert one.shape == (128, 128, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, draw(style, "Dogs", 7))
    assert not np.array_equal(one, draw(style, "Dogs", 8))
    assert not np.array_equal(one, draw(style, "Cats", 7))


def test_all_styles_and_objects_differ() -> None:
    by_style = {style: draw(style, "Trees", 3).astype(float) for style in STYLE_NAMES}
    by_object = {name: draw("Seed_Images", name, 3).astype(float) for name in OBJECTS}
    for pictures in (by_style, by_object):
        for one, other in itertools.combinations(pictures.values(), 2):
            assert np.abs(one - other).mean() > 5
