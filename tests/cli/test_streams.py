"""Text at the borders: closed streams, other encodings, arguments that are no text."""

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from esdctl.cli.app import main, run
from esdctl.cli.output import print_json, print_path
from esdctl.cli.streams import prepare_streams

ODD = os.fsdecode(b"\xff-d\xc3\xbcne")  # a name that is not UTF-8


def stdout_in(encoding: str, monkeypatch: pytest.MonkeyPatch) -> io.BytesIO:
    """Make stdout a stream of this encoding; returns the bytes that reach it."""
    reached = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(reached, encoding))
    prepare_streams()
    return reached


def in_shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    python = f"{sys.executable} -m esdctl"
    return subprocess.run(
        ["bash", "-c", line.replace("esdctl", python, 1)],
        env={**os.environ, **environment},
        capture_output=True,
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-16", "cp1252"])
@pytest.mark.parametrize("command", ["train", "sample", "download"])
def test_help_is_shown_in_any_encoding(
    command: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = stdout_in(encoding, monkeypatch)
    assert run([command, "--help"]) == 0
    assert f"Usage: esdctl {command}" in reached.getvalue().decode(encoding)


def test_help_is_shown_under_the_c_locale() -> None:
    process = in_shell("esdctl train --help", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (process.returncode, process.stderr) == (0, b"")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_path_goes_out_as_the_file_system_has_it(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = stdout_in(encoding, monkeypatch)
    print_path(Path(ODD))
    assert reached.getvalue() == b"\xff-d\xc3\xbcne\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_is_valid_unicode_and_keeps_a_path(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = stdout_in(encoding, monkeypatch)
    print_json({"path": ODD, "concept": "Düne"})
    assert json.loads(reached.getvalue().decode(encoding)) == {"path": ODD, "concept": "Düne"}


def test_a_workspace_whose_name_is_not_utf8_is_used(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    root = f"{tmp_path}/{ODD}"
    assert run(["sample", "--prompt", "a dog", "--steps", "1", "--root", root]) == 0
    picture = capfdbinary.readouterr().out.removesuffix(b"\n")
    assert os.fsencode(ODD) in picture
    assert Path(os.fsdecode(picture)).is_file()


@pytest.mark.parametrize("option", ["--concept", "--prompt"])
def test_an_argument_that_is_no_text_is_a_usage_error(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = [] if option == "--concept" else ["--concept", "Dogs"]
    arguments = ["train", *other, option, ODD, "--root", str(tmp_path), "--iterations", "1"]
    assert run(arguments) in (2, 3)
    assert "unexpected" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("esdctl download --list >&-", 0),
        ("esdctl download --list 2>&-", 0),
        ("esdctl download nonsense 2>&-", 2),
        ("esdctl sample --prompts - <&-", 3),
        ("esdctl --help | head -1; exit ${PIPESTATUS[0]}", 0),
    ],
)
def test_closed_streams_do_no_harm(line: str, status: int) -> None:
    process = in_shell(line)
    assert process.returncode == status
    assert b"Traceback" not in process.stderr
    if "2>&-" in line:
        assert b"kind" not in process.stdout  # the table is no result
        assert b"error:" not in process.stdout


def test_a_closed_stream_never_becomes_a_file_of_ours(tmp_path: Path) -> None:
    code = (
        "from esdctl.cli.streams import prepare_streams; prepare_streams(); import os; "
        f"file = open({str(tmp_path / 'weights')!r}, 'w'); os.write(1, b'noise'); "
        "os.write(2, b'noise'); print('more noise')"
    )
    subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "{code}" <&- >&- 2>&-'],
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "weights").read_bytes() == b""


def test_a_home_that_is_not_there_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ESDCTL_ROOT", "~nobody_of_that_name/x")
    assert run(["download", "--list"]) == 2
    assert "home folder" in capsys.readouterr().err


def test_a_current_folder_that_was_removed_is_an_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run(["download", "--list"]) == 3
    assert "the current folder was removed" in capsys.readouterr().err


def test_a_name_never_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "\x1b]0;title\x07\x9b31m"]) == 3
    shown = capsys.readouterr().err
    assert "\\x1b]0;title\\x07\\x9b31m" in shown
    assert not set(shown) & set("\x1b\x07\x9b")


def test_an_endless_name_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "a" * 50_000]) in (3, 7)
    assert len(capsys.readouterr().err) < 2500


@pytest.mark.skipif(not Path("/proc").exists(), reason="this system has no /proc")
def test_a_cache_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESDCTL_CACHE_DIR", "/proc/none")
    line = ["sample", "--prompt", "a", "--dry-run", "--no-estimate", "--root", str(tmp_path)]
    assert run(line) == 0


def test_a_library_that_nobody_asked_for_gives_no_advice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["esdctl", "--version"])
    library = logging.getLogger("bitsandbytes")
    try:
        with pytest.raises(SystemExit):
            main()
        logging.getLogger("bitsandbytes.backends.cpu").warning("pip install kernels")
    finally:
        library.setLevel(logging.NOTSET)
    assert caplog.records == []
