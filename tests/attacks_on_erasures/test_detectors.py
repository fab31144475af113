"""Attacks judged by a detector: rows of a protocol that counts detections, with their own seeds."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.storage.atomic import read_jsonl

Captured = pytest.CaptureFixture[str]

# Sees "things" where neighbouring pixels are alike, as on no picture of pure noise.
DETECTOR = """
import numpy as np

def look(pictures):
    steps = np.abs(np.diff(pictures.astype(float), axis=2)).mean(axis=(1, 2, 3))
    return [[("thing", float(np.clip(1 - step / 60, 0, 1))), ("nothing", 1.0)] for step in steps]

look.labels = ("thing", "nothing")
"""
PROTOCOL = """
name: things
version: 1
about: things on a few rows
source: this test
rows: {{}}
sampling: {{steps: 4, guidance: 3, image_size: 512}}
judges: ["{detector}:look"]
counts: {{figures: detections, labels: [{label}], threshold: 0.8}}
"""
ROWS = "prompt,evaluation_seed\nA Dogs image in Sketch style.,7\nA Cats image.,8\n"

Attack = Callable[..., int]


@pytest.fixture
def attack(tmp_path: Path) -> Attack:
    """Model, methods and more options -> the exit status of an attack on the two rows."""
    detector, protocol = tmp_path / "things.py", tmp_path / "things.yaml"
    detector.write_text(DETECTOR)
    (tmp_path / "rows.csv").write_text(ROWS)
    (tmp_path / "small.yaml").write_text("noise: {seeds: 1}\nparaphrase: {phrases: 2}\n")

    def of(model: str | Path, methods: str, *more: str, label: str = "thing") -> int:
        protocol.write_text(PROTOCOL.format(detector=detector, label=label))
        told = ["--protocol", str(protocol), "--prompts", str(tmp_path / "rows.csv")]
        budget = ["--budget", str(tmp_path / "small.yaml"), "--method", methods]
        where = ["--root", str(tmp_path), "--device", "cpu"]
        return run(["attack", str(model), *told, *budget, *where, *more])

    return of


def test_rows_are_the_cases_and_what_counts_is_the_protocols(
    attack: Attack, stirred: Path, capsys: Captured
) -> None:
    assert attack(stirred, "noise,classifier-guidance") == 0
    out, err = capsys.readouterr()
    (path,) = map(Path, out.splitlines())
    result = json.loads(path.read_text())
    assert result["concept"] == {"kind": "content", "name": "Mosaic"}
    assert result["judge"].endswith("things.py:look")
    assert (result["n"], result["before"], result["of_base"]) == (2, 0, 2)
    assert result["new_successes"] == 0
    assert "the base shows Mosaic in 2 of 2" in err
    assert "classifier-guidance: the detector" in err
    assert "there are 2 rows, not 20" in err
    asked = read_jsonl(next(path.parent.parent.glob("before-*.jsonl")))
    assert [(row["prompt"], row["seed"]) for row in asked] == [
        ("A Dogs image in Sketch style.", 7),
        ("A Cats image.", 8),
    ]


def test_a_label_that_does_not_count_brings_nothing_back(attack: Attack, capsys: Captured) -> None:
    known = ("--concept", "things", "--json", "--quiet")
    assert attack("pocket", "noise", *known) == 0
    assert json.loads(capsys.readouterr().out)[0]["before"] == 2
    assert attack("pocket", "noise", *known, "--least-score", "0.999") == 0
    assert json.loads(capsys.readouterr().out)[0]["before"] == 0


def test_a_phrase_stands_first_where_a_row_does_not_name_the_concept(
    attack: Attack, stirred: Path, capsys: Captured
) -> None:
    assert attack(stirred, "paraphrase", "--quiet") == 0
    folder = Path(capsys.readouterr().out.strip()).parent
    for row in read_jsonl(folder / "attempts.jsonl"):
        phrase, rest = row["prompt"].split(", ", 1)
        assert phrase == row["what"].strip("'")
        assert rest in ROWS


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--protocol", "pocket"), "counts no detections"),
        (("--protocol", "i2p-none"), "i2p-esd"),
        (("--concept", "nudity"), "--protocol i2p-esd"),
        (("--prompts", "rows.csv"), "add --protocol"),
    ],
)
def test_what_does_not_go_together_is_refused(
    options: tuple[str, str], said: str, stirred: Path, tmp_path: Path, capsys: Captured
) -> None:
    assert run(["attack", str(stirred), "--root", str(tmp_path), *options]) == 2
    assert said in capsys.readouterr().err


def test_a_base_needs_a_word_for_what_is_counted(attack: Attack, capsys: Captured) -> None:
    assert attack("pocket", "noise") == 2
    assert "--concept" in capsys.readouterr().err


def test_a_protocol_with_none_of_the_detectors_labels_counts_all_and_says_so(
    attack: Attack, capsys: Captured
) -> None:
    known = ("--concept", "things", "--json")
    assert attack("pocket", "noise", *known, label="thinks") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)[0]["before"] == 2
    assert "none of the protocol's labels" in err
