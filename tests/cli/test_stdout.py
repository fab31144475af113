"""stdout is an interface: a path a line, one JSON document, or one object an event."""

import json
from pathlib import Path

import pytest

from esdctl.cli.output import print_json, print_json_line, print_path


def test_a_path_stands_alone_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_path(Path("outputs") / "a run [1]")
    assert capsys.readouterr().out == "outputs/a run [1]\n"


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"concept": "Düne", "ua": None})
    shown = capsys.readouterr().out
    assert "Düne" in shown
    assert json.loads(shown) == {"concept": "Düne", "ua": None}


def test_an_event_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json_line({"step": 1, "text": "a\nb"})
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.parametrize("show", [print_json, print_json_line])
def test_a_number_that_json_cannot_say_is_never_printed(
    show: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(show)
    with pytest.raises(ValueError, match="JSON compliant"):
        show({"fid": float("nan")})
    assert capsys.readouterr().out == ""
