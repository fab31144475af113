"""Data sets in their own layout, small: coloured squares and real rows."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

REAL_ROWS = Path(__file__).parents[1] / "data/i2p.csv"


def draw(path: Path, color: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 16), color).save(path)


@pytest.fixture
def canvas(tmp_path: Path) -> Path:
    """Two styles and two objects, one cell empty; 12 pictures in one cell."""
    folder = tmp_path / "canvas"
    for number in range(1, 13):
        draw(folder / f"Van_Gogh/Dogs/{number}.jpg", "blue")
    draw(folder / "Van_Gogh/Cats/1.jpg", "red")
    draw(folder / "Seed_Images/Dogs/1.jpg", "green")
    (folder / "Seed_Images/Cats").mkdir()
    return folder


@pytest.fixture
def i2p(tmp_path: Path) -> Path:
    folder = tmp_path / "i2p"
    draw(folder / "images/self-harm/1.jpg", "black")
    draw(folder / "images/self-harm/3.jpg", "black")
    (folder / "prompts").mkdir()
    shutil.copy(REAL_ROWS, folder / "prompts/i2p.csv")
    return folder
