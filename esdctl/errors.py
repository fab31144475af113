"""What can go wrong, as one tree; every error carries what happened and what to do.

    EsdctlError
    ├── CheckFailed     a measured value is outside what was allowed     exit 1
    ├── UsageError      the command line or a setting makes no sense     exit 2
    ├── InputError      a file, model or prompt is missing or invalid    exit 3
    ├── NetworkError    a server did not give what was asked             exit 4
    ├── IntegrityError  bytes are not what they should be                exit 5
    ├── DeviceError     no such device, or its memory does not suffice   exit 6
    ├── StorageError    the disk is full, read-only or not writable      exit 7
    └── Interrupted     the user pressed Ctrl-C; the state is saved      exit 130

The numbers live in ``esdctl.cli.exit_codes``.
"""


class EsdctlError(Exception):
    """An error that the user can mend.

    Args:
        message: what is wrong and where, one line without a full stop at its end.
        hint: what to do, one line; empty when there is nothing to say.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class CheckFailed(EsdctlError):
    """A measured value is outside what was allowed."""


class UsageError(EsdctlError):
    """The command line or a setting makes no sense."""


class InputError(EsdctlError):
    """A file, model or prompt is missing or invalid."""


class NetworkError(EsdctlError):
    """A server did not give what was asked."""


class IntegrityError(EsdctlError):
    """Bytes are not what they should be."""


class DeviceError(EsdctlError):
    """The device does not exist, or its memory does not suffice."""


class StorageError(EsdctlError):
    """The disk is full, read-only or not writable."""


class Interrupted(EsdctlError):
    """The user pressed Ctrl-C; what was done so far is kept."""
