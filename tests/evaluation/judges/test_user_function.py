"""A user's own function as a judge: what it may give, and what is said where it gives else."""

from pathlib import Path

import numpy as np
import pytest
import torch

from esdctl.errors import InputError, UsageError
from esdctl.evaluation.judges.detector import Sighting, find_detector
from esdctl.progress import Silent
from esdctl.storage.digest import sha256_file

CPU = torch.device("cpu")
PICTURES = np.stack([np.full((8, 10, 3), value, np.uint8) for value in (0, 128, 255)])

GOOD = """
def pairs(pictures):
    assert pictures.dtype == "uint8" and pictures.shape[3] == 3
    return [[("bright", float(p.mean()) / 255), ("dark", 1 - float(p.mean()) / 255)]
            for p in pictures]

def mapping(pictures):
    return ({"bright": p.mean() / 255} for p in pictures)

def boxes(pictures):
    return [[{"label": "half", "score": 0.5, "box": (0, 1, p.shape[1] / 2, p.shape[0])}]
            for p in pictures]

pairs.labels = ("bright", "dark")
number = 5
"""


def written(folder: Path, source: str) -> Path:
    file = folder / "own_judge.py"
    file.write_text(source)
    return file


def test_the_three_forms_of_an_answer_are_taken(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD)
    found = {
        name: find_detector(f"{file}:{name}", Path()).load(CPU, Silent())(PICTURES)
        for name in ("pairs", "mapping", "boxes")
    }
    assert found["pairs"][0] == [Sighting("bright", 0.0), Sighting("dark", 1.0)]
    assert [row[0].score for row in found["mapping"]] == pytest.approx([0, 128 / 255, 1])
    assert found["boxes"] == [[Sighting("half", 0.5, (0.0, 1.0, 5.0, 8.0))]] * 3


def test_a_module_of_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "module_of_mine.py"
    file.write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", __import__("sys").path[:])
    detector = find_detector("module_of_mine:pairs", Path())
    assert detector.name == "module_of_mine:pairs"
    assert tuple(detector.labels) == ("bright", "dark")
    assert detector.digest() == sha256_file(file)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise RuntimeError('no weights')", "failed: RuntimeError: no weights"),
        ("return []", "gave 0 answers for 3 pictures"),
        ("return None", "failed: TypeError"),
        ("return ['cat'] * 3", "gave 'cat' for a picture"),
        ("return [[('cat', 2.0)]] * 3", "gave .* for a picture"),
        ("return [[('cat', float('nan'))]] * 3", "gave .* for a picture"),
        ("return [[('cat', 'very')]] * 3", "gave .* for a picture"),
        ("return [[(1, 0.5)]] * 3", "gave .* for a picture"),
        ("return [[{'name': 'cat'}]] * 3", "gave .* for a picture"),
        ("return [[{'label': 'cat', 'score': 1, 'box': (1, 2)}]] * 3", "gave .* for a picture"),
    ],
)
def test_other_answers_are_refused_in_words(body: str, words: str, tmp_path: Path) -> None:
    file = written(tmp_path, f"def judge(pictures):\n    {body}\n")
    detect = find_detector(f"{file}:judge", Path()).load(CPU, Silent())
    with pytest.raises(InputError, match=words):
        detect(PICTURES)


def test_what_does_not_import_says_why(tmp_path: Path) -> None:
    file = written(tmp_path, "import not_installed_anywhere\n")
    with pytest.raises(InputError, match="ModuleNotFoundError: No module named"):
        find_detector(f"{file}:judge", Path())
    with pytest.raises(InputError, match="cannot import no_such_module_here"):
        find_detector("no_such_module_here:judge", Path())
    with pytest.raises(InputError, match="cannot import"):
        find_detector(f"{tmp_path / 'missing.py'}:judge", Path())


@pytest.mark.parametrize("name", ["pears", "number"])
def test_a_function_that_is_not_there_gets_the_nearest_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"has no function {name}"):
        find_detector(f"{written(tmp_path, GOOD)}:{name}", Path())


def test_a_name_without_a_function_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no function"):
        find_detector("own_judge:", Path())
