"""``esdctl download``: what can be had, and what is refused before a byte is moved."""

import json
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.cli.transfer_options import parse_rate
from esdctl.errors import UsageError

Capture = pytest.CaptureFixture[str]


def test_the_list_has_a_name_a_line(tmp_path: Path, capsys: Capture) -> None:
    assert run(["download", "--list", "--root", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[:3] == ["compvis", "diffuser", "unlearn-canvas --sample"]
    assert "3.84 GB" in shown.err


def test_the_list_as_json_has_the_users_entries(tmp_path: Path, capsys: Capture) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "artifacts:\n- {name: mine, kind: model, folder: models/mine,"
        " zip: {url: 'https://example.org/mine.zip'}}\n"
    )
    assert run(["download", "--list", "--json", "--catalog", str(mine)]) == 0
    last = json.loads(capsys.readouterr().out)[-1]
    assert (last["name"], last["source"]) == ("mine", "https://example.org/mine.zip")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ((), 2),
        (("comvis",), 2),
        (("i2p",), 2),
        (("hub:nobody",), 2),
        (("compvis", "--include", "*.json"), 2),
        (("compvis", "--limit-rate", "fast"), 2),
        (("compvis", "--connections", "0"), 2),
        (("compvis", "--json", "--jsonl"), 2),
        (("compvis", "--catalog", "none.yaml"), 3),
    ],
)
def test_what_makes_no_sense_has_its_status(
    tmp_path: Path, arguments: tuple[str, ...], status: int, capsys: Capture
) -> None:
    assert run(["download", *arguments, "--root", str(tmp_path)]) == status
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10M", 10_000_000), ("500k", 500_000), ("1.5MB/s", 1_500_000), ("2MiB", 2_097_152), ("7", 7)],
)
def test_a_rate_is_bytes_a_second(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "-1M", "M", "nan"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_rate(text)
