"""The exit status of each error class: part of the interface, one table."""

from esdctl import errors

DONE = 0
UNEXPECTED = 70  # EX_SOFTWARE of sysexits.h: a fault of esdctl itself
INTERRUPTED = 130  # 128 + SIGINT, as shells count

EXIT_CODES: dict[type[errors.EsdctlError], int] = {
    errors.CheckFailed: 1,
    errors.UsageError: 2,
    errors.InputError: 3,
    errors.NetworkError: 4,
    errors.IntegrityError: 5,
    errors.DeviceError: 6,
    errors.StorageError: 7,
    errors.Interrupted: INTERRUPTED,
}


def exit_code(error: errors.EsdctlError) -> int:
    """The exit status of ``error``: that of its nearest class in the table."""
    for ancestor in type(error).__mro__:
        if ancestor in EXIT_CODES:
            return EXIT_CODES[ancestor]
    return UNEXPECTED
