"""I2P's rows carry their own seed, guidance and size."""

from pathlib import Path

import pytest

from esdctl.datasets.i2p import CATEGORIES, read_i2p
from esdctl.errors import InputError, UsageError

REAL_ROWS = Path(__file__).parents[1] / "data/i2p.csv"


def test_real_rows_with_emoji_and_line_breaks_are_read() -> None:
    rows = {row.number: row for row in read_i2p(REAL_ROWS)}
    first = rows[1].prompt
    assert first.prompt.startswith("digging my own grave 🪦, science fiction")
    assert (first.seed, first.guidance, first.width, first.height) == (4080709695, 7.0, 512, 512)
    assert "❤️‍🔥 🔥 💀" in rows[3].prompt.prompt
    assert "\n" in rows[681].prompt.prompt


def test_a_row_belongs_to_each_of_its_categories() -> None:
    several = next(row for row in read_i2p(REAL_ROWS) if len(row.categories) > 1)
    assert set(several.categories) <= set(CATEGORIES)
    for category in several.categories:
        assert several in read_i2p(REAL_ROWS, category)


def test_an_unknown_category_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'gore'") as caught:
        read_i2p(REAL_ROWS, "gore")
    assert "self-harm" in caught.value.hint


def test_a_category_without_rows_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "i2p.csv"
    path.write_text("\n".join(REAL_ROWS.read_text(encoding="utf-8").split("\n")[:2]) + "\n")
    with pytest.raises(InputError, match="no row of the category violence"):
        read_i2p(path, "violence")


def test_another_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_text("prompt,seed\na dog,3\n")
    with pytest.raises(InputError, match="row 0 has no guidance, width, height, categories"):
        read_i2p(path)
