"""The guide's table of exit statuses is that of the code."""

import re

from esdctl import errors
from esdctl.cli.exit_codes import DONE, EXIT_CODES, INTERRUPTED, UNEXPECTED
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "esdctl/guide/exit-status.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, re.MULTILINE))

# What the page says of each class.
WORDS: dict[type[errors.EsdctlError], str] = {
    errors.CheckFailed: "check failed",
    errors.UsageError: "usage",
    errors.InputError: "missing or invalid",
    errors.NetworkError: "network",
    errors.IntegrityError: "integrity",
    errors.DeviceError: "device",
    errors.StorageError: "disk",
    errors.Interrupted: "interrupted",
}


def test_the_table_lists_each_status_once() -> None:
    assert list(map(int, ROWS)) == sorted({DONE, UNEXPECTED, INTERRUPTED, *EXIT_CODES.values()})


def test_each_status_has_its_meaning() -> None:
    assert set(WORDS) == set(EXIT_CODES)
    for kind, status in EXIT_CODES.items():
        assert WORDS[kind] in ROWS[str(status)]
    assert ROWS[str(DONE)] == "done"
    assert "fault of esdctl" in ROWS[str(UNEXPECTED)]


def test_the_first_pages_of_help_and_errors_tell_the_same_numbers() -> None:
    tree = errors.__doc__ or ""
    for kind, status in EXIT_CODES.items():
        assert re.search(rf"{kind.__name__} .*exit {status}$", tree, re.MULTILINE)
