"""The contact sheet of a data set: styles by objects, or a line of pictures a category."""

from pathlib import Path
from typing import TYPE_CHECKING

from esdctl.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE = 96  # pixels of a picture: 51 styles by 20 objects become 2,200 x 5,300
_PER_CATEGORY = 8


def data_set_sheet(folder: Path) -> "Image":
    """The first picture of each style and object of UnlearnCanvas, or some of each I2P category.

    Raises:
        InputError: the folder is neither of the two, holds no picture, or one is damaged.
    """
    from esdctl.datasets.folders import is_i2p, pictures_by_category, pictures_by_cell
    from esdctl.sampling.contact_sheet import contact_sheet

    if is_i2p(folder):
        categories = pictures_by_category(folder)
        if not categories:
            raise InputError(f"{folder} holds no pictures, only prompts")
        columns = [""] * min(_PER_CATEGORY, max(map(len, categories.values())))
        lines = [
            [_open(paths[i]) if i < len(paths) else None for i in range(len(columns))]
            for paths in categories.values()
        ]
        return contact_sheet(lines, list(categories), columns, _SIDE)
    cells = pictures_by_cell(folder)
    styles, objects = (list(dict.fromkeys(cell[i] for cell in sorted(cells))) for i in (0, 1))
    objects.sort()
    lines = [
        [_open(cells[style, thing][0]) if (style, thing) in cells else None for thing in objects]
        for style in styles
    ]
    shown_address = [[name.replace("_", " ") for name in names] for names in (styles, objects)]
    return contact_sheet(lines, shown_address[0], shown_address[1], _SIDE)


def _open(path: Path) -> "Image":
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture.thumbnail((_SIDE, _SIDE))
            return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            f"{path} is no picture ({error})", "esdctl verify --deep --repair"
        ) from error
