"""A data set's folder is counted by style, object and category."""

from pathlib import Path

import pytest

from esdctl.datasets.folders import pictures_by_category, pictures_by_cell, take_inventory
from esdctl.errors import InputError
from tests.datasets.conftest import draw


def test_pictures_count_for_their_style_and_their_object(canvas: Path) -> None:
    inventory = take_inventory(canvas)
    assert inventory.pictures == 14
    assert inventory.by_style == {"Van_Gogh": 13, "Seed_Images": 1}
    assert inventory.by_object == {"Dogs": 13, "Cats": 1}
    assert inventory.unknown == ()


def test_pictures_are_in_the_order_of_their_numbers(canvas: Path) -> None:
    names = [path.name for path in pictures_by_cell(canvas)["Van_Gogh", "Dogs"]]
    assert names == [f"{number}.jpg" for number in range(1, 13)]


def test_an_unknown_style_is_counted_and_named(canvas: Path) -> None:
    draw(canvas / "Brutalism/Dogs/1.jpg", "grey")
    inventory = take_inventory(canvas)
    assert inventory.by_style["Brutalism"] == 1
    assert inventory.unknown == ("Brutalism",)


def test_i2p_is_counted_by_category(i2p: Path) -> None:
    inventory = take_inventory(i2p)
    assert (inventory.pictures, inventory.by_category) == (2, {"self-harm": 2})
    assert inventory.prompts > 3
    assert sum(inventory.prompts_by_category.values()) > inventory.prompts  # some have several
    assert [path.stem for path in pictures_by_category(i2p)["self-harm"]] == ["1", "3"]


def test_i2p_without_pictures_still_has_its_prompts(i2p: Path) -> None:
    (i2p / "images").rename(i2p / "elsewhere")
    assert take_inventory(i2p).pictures == 0
    assert take_inventory(i2p).prompts > 3


@pytest.mark.parametrize("make", [False, True])
def test_another_folder_is_refused(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "none"
    if make:
        (folder / "a/b").mkdir(parents=True)
    with pytest.raises(InputError, match="none"):
        take_inventory(folder)
