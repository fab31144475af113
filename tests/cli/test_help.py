"""``--help`` of every command: nothing cut, no boxes, defaults and choices told."""

import io
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from esdctl.cli.app import app, run
from esdctl.cli.command_list import ENTRIES

Capture = pytest.CaptureFixture[str]


def all_commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from all_commands(below, (*path, name))


COMMANDS = dict(all_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("columns", ["", "80", "60", "0", "nonsense"])
def test_no_option_is_cut(
    path: tuple[str, ...], columns: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert run([*path, "--help"]) == 0
    shown = capsys.readouterr().out
    assert not set(shown) & set("…│╭╰─\x1b")
    words = shown.replace(",", " ").split()
    for parameter in COMMANDS[path].params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            assert set(parameter.opts) <= set(words)
    assert max(map(len, shown.splitlines())) <= {"60": 80, "80": 80}.get(columns, 100)


@pytest.mark.parametrize("name", ENTRIES)
def test_the_list_of_commands_says_what_the_commands_help_says_first(
    name: str, capsys: Capture
) -> None:
    assert run([name, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"esdctl {name} " in shown
    assert ENTRIES[name].line in shown


def test_the_first_page_groups_the_commands(capsys: Capture) -> None:
    run(["--help"])
    shown = capsys.readouterr().out
    places = [shown.index(word) for word in ("Erase and measure:", "Models and data", "Options:")]
    assert places == sorted(places)
    assert "  train     Erase a concept from a model; print the run folder." in shown


def test_defaults_and_choices_are_told(capsys: Capture) -> None:
    run(["sample", "--help"])
    assert "[default: ddim]" in capsys.readouterr().out
    run(["download", "--help"])
    assert "--proof members|whole" in capsys.readouterr().out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("term", "no_color", "is_bold"),
    [("xterm", "", True), ("dumb", "", False), ("xterm", "1", False)],
)
def test_a_terminal_gets_bold_headings_where_it_can(
    term: str, no_color: str, is_bold: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("NO_COLOR", no_color)
    run(["--help"])
    assert ("\x1b[1m" in sys.stdout.getvalue()) == is_bold
