"""``esdctl bench compare`` shows two documents side by side, and refuses unlike ones."""

import json
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.timing.measurements import Case, Subject, measurements

Captured = pytest.CaptureFixture[str]


def written(
    folder: Path,
    name: str,
    seconds: float,
    command: str = "train",
    model: str = "a",
    lr: float = 1.0,
) -> str:
    """A document as the command prints it."""
    cases = [Case("exact", {"s a pair": 1.0}), Case("ours", {"s a pair": seconds, "MB": None})]
    subject = Subject(command, "pocket", model * 64, {"lr": lr})
    found = measurements("A training pair", cases, ["s a pair"], subject)
    path = folder / name
    path.write_text(json.dumps(found.document()))
    return str(path)


def test_two_documents_of_one_thing_are_compared_case_by_case(
    tmp_path: Path, capsys: Captured
) -> None:
    files = written(tmp_path, "a.json", 0.5), written(tmp_path, "b.json", 0.25)
    assert run(["bench", "compare", *files]) == 0
    table = capsys.readouterr().out
    assert "| ours | s a pair | 0.5 | 0.25 | 0.500 |" in table
    assert "first: " in table
    assert run(["bench", "compare", *files, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["subject"]["command"] == "train"
    assert [row["ratio"] for row in document["figures"]] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"command": "sample"}, "one file is of bench train, the other of bench sample"),
        ({"model": "b"}, "the models differ"),
        ({"lr": 2.0}, "the settings differ: lr (1.0 and 2.0)"),
    ],
)
def test_unlike_documents_are_refused_with_the_reason(
    other: dict[str, object], reason: str, tmp_path: Path, capsys: Captured
) -> None:
    files = written(tmp_path, "a.json", 1.0), written(tmp_path, "b.json", 1.0, **other)  # type: ignore[arg-type]
    assert run(["bench", "compare", *files]) == 2
    captured = capsys.readouterr()
    assert reason in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"title": "x"}'])
def test_a_file_of_another_kind_is_an_input_error(
    content: str, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "x.json").write_text(content)
    other = written(tmp_path, "a.json", 1.0)
    assert run(["bench", "compare", str(tmp_path / "x.json"), other]) == 3
    assert "is no document of esdctl bench" in capsys.readouterr().err
    assert run(["bench", "compare", str(tmp_path / "none.json"), other]) == 3
