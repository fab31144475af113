"""Predictions on disk: kept, resumed, and never mixed with those of another protocol or model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from esdctl.errors import InputError
from esdctl.evaluation.judgements import Judgement, JudgementFile, JudgingSettings

SETTINGS = JudgingSettings(classifier="c" * 64, steps=25, guidance=3.0, image_size=128)
FIRST = Judgement(
    "Mosaic", "Cats", 1, "Rust", "Cats", 0.75, 0.5, "A Cats image in Mosaic style.", 3.0, 128, 128
)
SECOND = Judgement(
    "Mosaic", "Dogs", 2, "Mosaic", "Dogs", 1.0, 0.25, "A Dogs image in Mosaic style.", 3.0, 128, 128
)


@pytest.fixture
def file(tmp_path: Path) -> JudgementFile[Judgement]:
    return JudgementFile(tmp_path, SETTINGS, "a" * 64, Judgement)


def test_rows_come_back(file: JudgementFile[Judgement]) -> None:
    assert file.read() == {}
    file.append(FIRST)
    file.append(SECOND)
    assert file.read() == {FIRST.key: FIRST, SECOND.key: SECOND}


def test_a_row_says_where_it_comes_from(file: JudgementFile[Judgement]) -> None:
    file.append(FIRST)
    row = json.loads(file.path.read_text())
    assert row["model"] == "a" * 64
    assert (row["classifier"], row["steps"], row["guidance"]) == ("c" * 64, 25, 3.0)
    assert (row["style"], row["predicted_style"], row["p_style"]) == ("Mosaic", "Rust", 0.75)


def test_a_torn_last_line_is_written_again(file: JudgementFile[Judgement]) -> None:
    file.append(FIRST)
    with file.path.open("a") as opened:
        opened.write('{"style": "Mos')
    assert list(file.read().values()) == [FIRST]
    file.append(SECOND)
    assert list(file.read().values()) == [FIRST, SECOND]


@pytest.mark.parametrize(
    "change", [{"classifier": "d" * 64}, {"steps": 50}, {"guidance": 7.5}, {"image_size": 64}]
)
def test_other_settings_have_another_folder(
    file: JudgementFile[Judgement], change: dict[str, object]
) -> None:
    other = replace(file, settings=replace(SETTINGS, **change))  # type: ignore[arg-type]
    assert other.path.parent != file.path.parent
    assert replace(file, model="b" * 64).path != file.path


def test_a_folder_spells_out_its_settings(file: JudgementFile[Judgement]) -> None:
    file.append(FIRST)
    assert json.loads((file.path.parent / "settings.json").read_text()) == {
        "classifier": "c" * 64,
        "steps": 25,
        "guidance": 3.0,
        "image_size": 128,
    }


@pytest.mark.parametrize("key", ["model", "steps"])
def test_a_row_of_another_origin_is_refused(file: JudgementFile[Judgement], key: str) -> None:
    file.append(FIRST)
    row = json.loads(file.path.read_text())
    file.path.write_text(json.dumps({**row, key: 7}) + "\n")
    with pytest.raises(InputError, match=rf"line 1: of another {key}"):
        file.read()


def test_a_damaged_row_is_named(file: JudgementFile[Judgement]) -> None:
    file.append(FIRST)
    row = json.loads(file.path.read_text())
    file.path.write_text(json.dumps({**row, "p_style": "much"}) + "\n")
    with pytest.raises(InputError, match="line 1: p_style"):
        file.read()
