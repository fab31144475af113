"""stderr is for people: a bar on a terminal, plain lines elsewhere, warnings only when quiet."""

import io
import re
import sys
from collections.abc import Callable

import pytest

from esdctl.cli.terminal import TerminalReporter, reporting, show_table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal_as_stderr(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm-256color")
    for variable in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    return stderr


def clock(*seconds: float) -> Callable[[], float]:
    return iter(seconds).__next__


def erase_dogs(reporter: TerminalReporter) -> None:
    reporter.started("erase Dogs", 20, "steps")
    reporter.advanced("erase Dogs", 10, "loss 0.5")
    reporter.advanced("erase Dogs", 20, "loss 0.4")
    reporter.finished("erase Dogs")


def test_a_pipe_gets_a_plain_line_every_five_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    erase_dogs(TerminalReporter(quiet=False, clock=clock(0, 4, 8, 61)))
    assert capsys.readouterr().err.splitlines() == [
        "erase Dogs: 0/20 steps",
        "erase Dogs: 20/20 steps, 2.5 steps/s, 0:00 left, loss 0.4",
        "erase Dogs: done in 1:01",
    ]


def test_what_ends_early_is_not_called_done(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = TerminalReporter(quiet=False, clock=clock(0, 4, 61))
    reporter.started("compvis", 3_840_000_000, "bytes")
    reporter.advanced("compvis", 1_000_000_000)
    reporter.finished("compvis")
    assert capsys.readouterr().err.splitlines()[-1] == (
        "compvis: stopped at 1.0 GB/3.8 GB after 1:01"
    )


def test_bytes_are_shown_in_larger_units(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = TerminalReporter(quiet=False, clock=clock(0, 10, 20))
    reporter.started("compvis", 3_840_000_000, "bytes")
    reporter.advanced("compvis", 1_000_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "compvis: 0 bytes/3.8 GB",
        "compvis: 1.0 GB/3.8 GB, 100.0 MB/s, 0:28 left",
    ]


def test_the_speed_of_a_resumed_task_counts_from_where_it_resumed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reporter = TerminalReporter(quiet=False, clock=clock(0, 10))
    reporter.started("erase Dogs", 100, "steps", done=90)
    reporter.advanced("erase Dogs", 95)
    assert "95/100 steps, 2.0 s per step, 0:10 left" in capsys.readouterr().err


def test_quiet_shows_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(quiet=True) as reporter:
        reporter.started("erase Dogs", 2, "steps")
        reporter.advanced("erase Dogs", 2)
        reporter.notice("using the model pocket")
        reporter.warning("the loss grows")
        reporter.finished("erase Dogs")
    assert capsys.readouterr().err == "warning: the loss grows\n"


def test_nothing_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    erase_dogs(TerminalReporter(quiet=False))
    show_table("Accuracy", ["", "UA"], [["Dogs", "100 %"]])
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar_that_redraws(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_as_stderr(monkeypatch)
    erase_dogs(TerminalReporter(quiet=False))
    assert "\x1b[" in terminal.getvalue()
    assert "erase Dogs: done in" in terminal.getvalue()


def test_a_dumb_terminal_gets_no_control_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_as_stderr(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    erase_dogs(TerminalReporter(quiet=False))
    show_table("Accuracy", ["", "UA"], [["Dogs", "100 %"]])
    assert "100" in terminal.getvalue()
    assert "\x1b" not in terminal.getvalue()


@pytest.mark.parametrize("no_color", [None, "1"])
def test_no_color_takes_the_colours_away(
    no_color: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = terminal_as_stderr(monkeypatch)
    if no_color is not None:
        monkeypatch.setenv("NO_COLOR", no_color)
    erase_dogs(TerminalReporter(quiet=False))
    coloured = re.search(r"\x1b\[[0-9;]*\b[349][0-8]\b", terminal.getvalue())
    assert (coloured is None) == (no_color is not None)


def test_the_cursor_comes_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_as_stderr(monkeypatch)
    with pytest.raises(ZeroDivisionError), reporting(quiet=False) as reporter:
        reporter.started("erase Dogs", 2, "steps")
        raise ZeroDivisionError
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert terminal.getvalue().rfind(shown) > terminal.getvalue().rfind(hidden) >= 0


def test_square_brackets_are_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_as_stderr(monkeypatch)
    with reporting(quiet=False) as reporter:
        reporter.started("erase [red]", 2, "steps")
        reporter.notice("writing to runs/[bold]1")
        reporter.finished("erase [red]")
    assert "runs/[bold]1" in terminal.getvalue()
    assert "erase [red]" in terminal.getvalue()


def test_a_reader_of_stderr_that_goes_away_ends_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    erase_dogs(TerminalReporter(quiet=False))


def test_a_table_is_aligned_in_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Accuracy", ["model", "UA"], [["base", "3 %"], ["erased Dogs", "100 %"]])
    assert capsys.readouterr().err.splitlines() == [
        "Accuracy",
        "model           UA",
        "base           3 %",
        "erased Dogs  100 %",
    ]


def test_a_table_of_words_is_aligned_left(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Here", ["name", "kind"], [["i2p", "dataset"], ["compvis", "model"]], is_text=True)
    assert capsys.readouterr().err.splitlines()[2:] == ["i2p      dataset", "compvis  model"]
