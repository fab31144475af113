"""Every error ends in one place: one clear line, what to do, and the documented exit status."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from esdctl import errors
from esdctl.cli import app as root
from esdctl.cli.app import run
from esdctl.cli.exit_codes import EXIT_CODES

Fail = Callable[[BaseException], int]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Run a command that raises the given error; return its exit status."""

    def run_failing(error: BaseException) -> int:
        application = typer.Typer(pretty_exceptions_enable=False)

        @application.command()
        def command() -> None:
            secret = "a local variable"  # noqa: F841 - a traceback must not show it
            raise error

        monkeypatch.setattr(root, "app", application)
        return run([])

    return run_failing


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.CheckFailed("x"), 1),
        (errors.UsageError("x"), 2),
        (errors.InputError("x"), 3),
        (errors.NetworkError("x"), 4),
        (errors.IntegrityError("x"), 5),
        (errors.DeviceError("x"), 6),
        (errors.StorageError("x"), 7),
        (errors.Interrupted("x"), 130),
        (MemoryError(), 6),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 6),
        (OSError(28, "No space left on device", "/disk/x"), 7),
        (OSError(30, "Read-only file system", "/disk/x"), 7),
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
        (ValueError("x"), 70),
    ],
)
def test_each_error_has_its_exit_status(fail: Fail, error: BaseException, status: int) -> None:
    assert fail(error) == status


def test_no_class_of_the_tree_is_without_an_exit_status() -> None:
    assert set(errors.EsdctlError.__subclasses__()) == set(EXIT_CODES)
    assert len(set(EXIT_CODES.values())) == len(EXIT_CODES)


def test_an_error_is_a_line_and_a_hint_on_stderr(
    fail: Fail, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(errors.InputError("no prompts in x.csv", "add a column `prompt`"))
    captured = capsys.readouterr()
    assert captured.err == "error: no prompts in x.csv\nhint: add a column `prompt`\n"
    assert captured.out == ""


def test_a_full_disk_names_the_path(fail: Fail, capsys: pytest.CaptureFixture[str]) -> None:
    fail(OSError(28, "No space left on device", "/disk/run"))
    assert "cannot use /disk/run: No space left on device" in capsys.readouterr().err


def test_torch_out_of_memory_is_a_device_error(fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    torch = type(sys)("torch")
    monkeypatch.setattr(torch, "OutOfMemoryError", OutOfMemoryError, raising=False)
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert fail(OutOfMemoryError("CUDA out of memory")) == 6


def test_a_fault_of_our_own_is_short_and_tells_how_to_see_more(
    fail: Fail, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ESDCTL_DEBUG", raising=False)
    fail(ValueError("first line\nsecond line"))
    assert capsys.readouterr().err == (
        "error: unexpected ValueError: first line\n"
        "hint: rerun with ESDCTL_DEBUG=1 for the traceback\n"
    )


def test_debug_shows_the_traceback_but_no_local_variable(
    fail: Fail, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESDCTL_DEBUG", "1")
    fail(ValueError("x"))
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert "\nsecret" not in shown
    assert "secret =" not in shown


@pytest.mark.parametrize("arguments", [["--nonsense"], ["nonsense"], ["--version=3"]])
def test_a_wrong_command_line_is_one_line_and_a_hint(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert hint == "hint: see `esdctl --help`"


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    captured = capsys.readouterr()
    assert "Usage: esdctl" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_a_closed_pipe_ends_quietly(flag: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.run(
        [sys.executable, "-m", "esdctl", flag], stdout=write_end, stderr=subprocess.PIPE
    )
    os.close(write_end)
    assert (process.returncode, process.stderr) == (0, b"")


def test_a_closed_pipe_that_is_not_stdout_is_an_error(fail: Fail) -> None:
    assert fail(BrokenPipeError(32, "Broken pipe")) == 70


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_a_full_disk_behind_stdout_is_a_storage_error(flag: str) -> None:
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(
            [sys.executable, "-m", "esdctl", flag], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert process.returncode == 7
    assert process.stderr.startswith(
        "error: cannot use the output: No space left on device\nhint: "
    )
