"""The contact sheet: every picture in its place, every label readable."""

import numpy as np
import pytest
from PIL import Image

from esdctl.sampling.contact_sheet import captioned_sheet, contact_sheet, square_columns
from esdctl.sampling.labels import drawable_labels

RED, GREEN, BLUE = (Image.new("RGB", (16, 16), color) for color in ("red", "lime", "blue"))


def test_pictures_lie_in_rows_and_columns() -> None:
    sheet = contact_sheet([[RED, GREEN], [BLUE, None]], ["", ""], ["", ""], side=20)
    assert sheet.size == (6 + 2 * 26, 6 + 2 * 26)
    assert sheet.getpixel((16, 16)) == (255, 0, 0)
    assert sheet.getpixel((42, 16)) == (0, 255, 0)
    assert sheet.getpixel((16, 42)) == (0, 0, 255)
    assert sheet.getpixel((42, 42)) == (255, 255, 255)


def test_labels_make_room_for_themselves() -> None:
    plain = contact_sheet([[RED]], [""], [""])
    labelled = contact_sheet([[RED]], ["erased"], ["A Dogs image in Van Gogh style."])
    assert labelled.width > plain.width
    assert labelled.height > plain.height
    margin = np.asarray(labelled.crop((0, 0, labelled.width, labelled.height - plain.height)))
    assert (margin < 128).any()


def test_a_long_label_stays_above_its_column() -> None:
    sheet = contact_sheet([[RED, GREEN]], [""], ["word " * 200 + "x" * 500, ""], side=80)
    above_second = np.asarray(sheet.crop((6 + 86, 0, sheet.width, sheet.height - 92)))
    assert (above_second == 255).all()
    assert sheet.height < 92 + 100


def test_a_tall_picture_keeps_its_shape() -> None:
    sheet = contact_sheet([[Image.new("L", (8, 16), 0)]], [""], [""], side=32)
    dark = np.asarray(sheet.convert("L")) < 128
    assert (dark.any(axis=1).sum(), dark.any(axis=0).sum()) == (32, 16)


def test_captions_wrap_over_lines_of_pictures() -> None:
    sheet = captioned_sheet([RED, GREEN, BLUE], ["a", "b", "c"], columns=2, side=20)
    assert sheet.width == 6 + 2 * 26
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255)} <= {
        color for _, color in sheet.getcolors(1 << 16) or []
    }


def test_labels_and_pictures_must_agree() -> None:
    with pytest.raises(ValueError, match="needs its label"):
        contact_sheet([[RED]], ["a", "b"], [""])
    with pytest.raises(ValueError, match="needs a picture"):
        contact_sheet([], [], [])
    with pytest.raises(ValueError, match="needs its caption"):
        captioned_sheet([RED], [], columns=3)


@pytest.mark.parametrize(
    ("count", "together", "columns"),
    [
        (1, 1, 1),
        (2, 1, 2),
        (5, 1, 3),
        (20, 1, 5),
        (20, 20, 5),
        (40, 20, 5),
        (80, 2, 8),
        (38, 19, 7),
    ],
)
def test_a_sheet_without_a_table_is_about_square(count: int, together: int, columns: int) -> None:
    assert square_columns(count, together) == columns


def test_a_title_makes_room_for_itself() -> None:
    plain = captioned_sheet([RED, GREEN], ["a", "b"], columns=2)
    titled = captioned_sheet([RED, GREEN], ["a", "b"], columns=2, title="A Dogs image.")
    assert (titled.width, titled.height > plain.height) == (plain.width, True)


def test_plain_labels_stay_as_they_are_in_pillows_own_font() -> None:
    labels, font = drawable_labels(["A Dogs image in Van Gogh style."], 14)
    assert labels == ["A Dogs image in Van Gogh style."]
    assert font.getname()[0] == "Aileron"  # type: ignore[union-attr]


def test_what_no_font_can_draw_is_replaced_and_never_a_box(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("esdctl.sampling.labels.SYSTEM_FONTS", ("no such font.ttf",))
    (label,), _ = drawable_labels(["café 🐈\u200d⬛ 犬, naïve"], 14)
    assert label == "cafe ?? ?, naive"
