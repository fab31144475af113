"""The root of the command line: version, help, and the two spellings of a flag."""

import subprocess
import sys

import pytest

from esdctl import __version__
from esdctl.cli.app import hyphenated, run


def test_version_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"esdctl {__version__}\n"


def test_the_package_runs_as_a_module() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "esdctl", "--version"], capture_output=True, text=True
    )
    assert (process.returncode, process.stdout) == (0, f"esdctl {__version__}\n")


def test_help_tells_the_exit_statuses_without_control_codes() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "esdctl", "--help"], capture_output=True, text=True
    )
    assert process.returncode == 0
    assert "130" in process.stdout
    assert "\x1b" not in process.stdout


@pytest.mark.parametrize(
    ("given", "spelt"),
    [
        (["--train_method", "full"], ["--train-method", "full"]),
        (["--train_method=x_y"], ["--train-method=x_y"]),
        (["--output", "my_run", "-o", "a_b"], ["--output", "my_run", "-o", "a_b"]),
        (["--prompt", "--a_b c"], ["--prompt", "--a_b c"]),
        (["a_b", "--", "--a_b"], ["a_b", "--", "--a_b"]),
    ],
)
def test_flags_may_be_spelt_with_underscores(given: list[str], spelt: list[str]) -> None:
    assert hyphenated(given) == spelt


def test_an_underscore_flag_reaches_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--no_such_flag"])
    assert "--no-such-flag" in capsys.readouterr().err
