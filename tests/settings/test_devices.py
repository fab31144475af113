"""What ``devices`` means."""

import pytest

from esdctl.errors import UsageError
from esdctl.settings.devices import parse_devices


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0", ("cuda:0",)),
        ("0,0", ("cuda:0",)),
        ("0, 1", ("cuda:0", "cuda:1")),
        ("cuda:1", ("cuda:1",)),
        ("cuda:0,cpu", ("cuda:0", "cpu")),
        ("mps", ("mps",)),
        ("CPU", ("cpu",)),
        ("cpu,cpu", ("cpu", "cpu")),
        ("cpu:0,1", ("cpu", "cuda:1")),
    ],
)
def test_one_device_or_two_in_torchs_names(text: str, names: tuple[str, ...]) -> None:
    assert parse_devices(text) == names


@pytest.mark.parametrize("text", ["", "0,", ",", "0,1,2"])
def test_no_device_and_three_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected one device or two"):
        parse_devices(text)


@pytest.mark.parametrize("text", ["meta", "cpu:1", "cpu:", "0,meta", "META:0", "cpu,cpu:2"])
def test_what_no_machine_has_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"device '(meta|META:0|cpu:\d?)'"):
        parse_devices(text)
