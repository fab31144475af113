"""On a real terminal, results on stdout and the bar on stderr do not mix."""

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

COMMAND = """
from pathlib import Path
from esdctl.cli.output import print_line, print_path
from esdctl.cli.terminal import reporting
with reporting(quiet=False) as reporter:
    reporter.started("sampling", 3, "pictures")
    for number in range(3):
        reporter.advanced("sampling", number + 1)
        print_path(Path(f"out/{number}.png"))
    reporter.notice("a notice")
    reporter.finished("sampling")
print_line("the end")
"""
CONTROL = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])")


def shown_by(terminal: str, **environment: str) -> list[str]:
    """The lines that stand on the terminal after a command with all streams there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=REPOSITORY,
        env={**os.environ, "TERM": terminal, "COLUMNS": "80", "LINES": "24", **environment},
    )  # fmt: skip
    os.close(theirs)
    written = b""
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:  # the other side is closed
            break
        if not block:
            break
        written += block
    os.close(ours)
    assert process.wait() == 0
    return screen_of(written.decode())


def screen_of(written: str) -> list[str]:
    """What a terminal makes of text and of the few control codes that bars use."""
    lines, row, column, place = [""], 0, 0, 0
    while place < len(written):
        code = CONTROL.match(written, place)
        if code:
            place = code.end()
            if code[2] == "A":
                row -= int(code[1] or 1)
            elif code[2] == "K":
                lines[row] = ""
            else:
                assert code[2] in "mlh", code[0]  # colours, and the cursor shown or hidden
            continue
        character, place = written[place], place + 1
        if character == "\r":
            column = 0
        elif character == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        else:
            before = lines[row].ljust(column)
            lines[row] = before[:column] + character + before[column + 1 :]
            column += 1
    return [line.rstrip() for line in lines if line.strip()]


@pytest.mark.parametrize("terminal", ["xterm-256color", "dumb"])
def test_each_path_has_a_line_of_its_own(terminal: str) -> None:
    lines = shown_by(terminal)
    for expected in ("out/0.png", "out/1.png", "out/2.png", "a notice", "the end"):
        assert lines.count(expected) == 1
    assert sum("sampling" in line for line in lines) == (1 if terminal.startswith("x") else 2)
    assert lines[-1] == "the end"


def test_no_color_is_heard_on_a_terminal() -> None:
    assert "the end" in shown_by("xterm-256color", NO_COLOR="1")
