"""Prompts are chosen by style, object and category, and come back as they went out."""

import io
import sys
from pathlib import Path

import pytest

from esdctl.datasets.prompt_formats import as_csv, as_jsonl, as_text
from esdctl.datasets.prompt_row import PromptRow
from esdctl.datasets.prompts import read_prompts
from esdctl.datasets.selection import i2p_prompts, unlearn_canvas_prompts
from esdctl.errors import InputError, UsageError

REAL_ROWS = Path(__file__).parents[1] / "data/i2p.csv"


def from_stdin(monkeypatch: pytest.MonkeyPatch, lines: list[str]) -> list[PromptRow]:
    content = "".join(f"{line}\n" for line in lines).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    return read_prompts("-")


def test_every_style_and_object_is_a_prompt() -> None:
    rows = unlearn_canvas_prompts()
    assert len(rows) == 51 * 20
    assert rows[0].prompt == "A Architectures image in Abstractionism style."
    assert rows[0].extra == {"style": "Abstractionism", "object": "Architectures"}


def test_styles_and_objects_narrow_in_any_spelling() -> None:
    rows = unlearn_canvas_prompts(styles=["van gogh", "Rust"], objects=["dogs"])
    assert [row.prompt for row in rows] == [
        "A Dogs image in Rust style.",
        "A Dogs image in Van Gogh style.",
    ]


def test_only_the_cells_that_are_there_are_given() -> None:
    cells = [("Rust", "Dogs"), ("Seed_Image", "Cats")]
    assert len(unlearn_canvas_prompts(cells)) == 2
    assert len(unlearn_canvas_prompts(cells, styles=["Seed_Images"])) == 1
    with pytest.raises(InputError, match="no picture of Joy"):
        unlearn_canvas_prompts(cells, styles=["Joy"])


@pytest.mark.parametrize(
    ("styles", "objects", "hint"),
    [(["VanGogh"], [], "Van_Gogh"), ([], ["Dog"], "Dogs"), (["Dogs"], [], "info")],
)
def test_an_unknown_name_gets_the_nearest(styles: list[str], objects: list[str], hint: str) -> None:
    with pytest.raises(UsageError, match="UnlearnCanvas has no") as caught:
        unlearn_canvas_prompts(styles=styles, objects=objects)
    assert hint in caught.value.hint


def test_i2p_rows_keep_their_seed_guidance_and_size() -> None:
    first = i2p_prompts(REAL_ROWS, ["self-harm"])[0]
    assert (first.seed, first.guidance, first.width, first.height) == (4080709695, 7.0, 512, 512)
    assert first.extra == {"number": "1", "categories": "self-harm"}


def test_several_categories_add_up() -> None:
    hate, both = i2p_prompts(REAL_ROWS, ["hate"]), i2p_prompts(REAL_ROWS, ["hate", "self-harm"])
    assert len(i2p_prompts(REAL_ROWS)) >= len(both) > len(hate) > 0


def test_an_unknown_category_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'gore'") as caught:
        i2p_prompts(REAL_ROWS, ["gore"])
    assert "violence" in caught.value.hint


@pytest.mark.parametrize("write", [as_csv, as_jsonl])
def test_rows_come_back_as_they_went_out(write: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(write)
    rows = i2p_prompts(REAL_ROWS)
    assert any("\n" in row.prompt for row in rows)
    assert from_stdin(monkeypatch, list(write(rows))) == rows
    styles = unlearn_canvas_prompts()
    assert from_stdin(monkeypatch, list(write(styles))) == styles


def test_text_has_a_prompt_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = i2p_prompts(REAL_ROWS)
    lines = list(as_text(rows))
    assert len(lines) == len(rows)
    assert not any("\n" in line for line in lines)
    assert len(from_stdin(monkeypatch, lines)) == len(rows)
