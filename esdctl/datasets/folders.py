"""A data set's folder: how many pictures it holds of each style, object and category."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from esdctl.datasets.i2p import CATEGORIES, read_i2p
from esdctl.datasets.unlearn_canvas import find
from esdctl.errors import InputError

I2P_TABLE = "prompts/i2p.csv"
I2P_PICTURES = "images"
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class Inventory:
    """What a folder holds; a mapping is empty where the data set has no such thing.

    Args:
        pictures: in all.
        by_style, by_object: pictures of UnlearnCanvas, by the data set's own names.
        by_category: pictures of I2P.
        prompts: rows of I2P's table.
        prompts_by_category: a row counts for each of its categories.
        unknown: names of folders that the data set does not know.
    """

    pictures: int
    by_style: Mapping[str, int] = field(default_factory=dict)
    by_object: Mapping[str, int] = field(default_factory=dict)
    by_category: Mapping[str, int] = field(default_factory=dict)
    prompts: int = 0
    prompts_by_category: Mapping[str, int] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


def take_inventory(folder: Path) -> Inventory:
    """Count what a folder of UnlearnCanvas or I2P holds; the folder itself tells which it is.

    Raises:
        InputError: the folder is missing, or is neither of the two.
    """
    if is_i2p(folder):
        return _count_i2p(folder)
    return _count_unlearn_canvas(folder)


def is_i2p(folder: Path) -> bool:
    """Whether a folder has I2P's table."""
    return (folder / I2P_TABLE).is_file()


def pictures_by_cell(folder: Path) -> dict[tuple[str, str], list[Path]]:
    """UnlearnCanvas's pictures by style and object, each cell's sorted by number.

    Raises:
        InputError: the folder is missing, or holds no ``<Style>/<Object>/<n>.jpg``.
    """
    cells: dict[tuple[str, str], list[Path]] = {}
    for style in _subfolders(folder):
        for thing in _subfolders(style):
            pictures = sorted(_pictures(thing), key=_by_number)
            if pictures:
                cells[style.name, thing.name] = pictures
    if not cells:
        raise InputError(
            f"{folder} holds neither {I2P_TABLE} nor pictures as <Style>/<Object>/<n>.jpg",
            "fetch the data set with `esdctl dataset fetch`",
        )
    return cells


def pictures_by_category(folder: Path) -> dict[str, list[Path]]:
    """I2P's pictures by category, each sorted by row number; {} where it has none.

    Raises:
        InputError: the folder is missing.
    """
    root = folder / I2P_PICTURES
    if not root.is_dir():
        return {}
    categories = {sub.name: sorted(_pictures(sub), key=_by_number) for sub in _subfolders(root)}
    return {name: pictures for name, pictures in categories.items() if pictures}


def _count_unlearn_canvas(folder: Path) -> Inventory:
    styles: Counter[str] = Counter()
    objects: Counter[str] = Counter()
    for (style, thing), pictures in pictures_by_cell(folder).items():
        styles[style] += len(pictures)
        objects[thing] += len(pictures)
    unknown = {name for name in (*styles, *objects) if find(name) is None}
    return Inventory(styles.total(), dict(styles), dict(objects), unknown=tuple(sorted(unknown)))


def _count_i2p(folder: Path) -> Inventory:
    rows = read_i2p(folder / I2P_TABLE)
    found = pictures_by_category(folder)
    pictures = {name: len(paths) for name, paths in found.items()}
    return Inventory(
        sum(pictures.values()),
        by_category=pictures,
        prompts=len(rows),
        prompts_by_category=dict(Counter(name for row in rows for name in row.categories)),
        unknown=tuple(sorted(set(pictures) - set(CATEGORIES))),
    )


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder} is not there", "fetch it with `esdctl dataset fetch`")
    return sorted(sub for sub in folder.iterdir() if sub.is_dir() and sub.name[0] != ".")


def _pictures(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)


def _by_number(path: Path) -> tuple[int, str]:
    """``2.jpg`` before ``10.jpg``."""
    return (int(path.stem) if path.stem.isdecimal() else 0, path.name)
