"""Secrets are hidden wherever text leaves the program."""

import pytest

from esdctl.cli.app import run
from esdctl.progress import Silent
from esdctl.redaction import redacted, redacted_arguments
from esdctl.storage.provenance import collect

TOKEN = "hf_QwErTyUiOpAsDfGh"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"header Bearer {TOKEN}", "header Bearer ***"),
        (f"a token {TOKEN}, alone", "a token hf_***, alone"),
        ("http://me:pass/word@proxy:3128/", "http://me:pass/word@proxy:3128/"),
        ("http://me:password@proxy:3128/ is down", "http://***@proxy:3128/ is down"),
        (
            "https://s3.test/blob?X-Amz-Date=1&X-Amz-Signature=abc&x=1 failed",
            "https://s3.test/blob?*** failed",
        ),
        ("https://hub.test/a.zip?download=true", "https://hub.test/a.zip?download=true"),
        ("unknown option --token=abcdef", "unknown option --token=***"),
        ("train --concept Dogs", "train --concept Dogs"),
    ],
)
def test_a_text_is_redacted(text: str, shown: str) -> None:
    assert redacted(text, {}) == shown


def test_the_environments_secrets_are_hidden_in_every_form() -> None:
    environment = {
        "HF_TOKEN": "first-part\nsecond-part",
        "WANDB_API_KEY": "0123456789abcdef",
        "https_proxy": "http://me:pass/w@rd@proxy:3128",
        "HOME": "/home/someone",
    }
    text = "first-part\nsecond-part, first-part\\nsecond-part, only second-part, 0123456789abcdef"
    assert redacted(text, environment) == "***, ***, only ***, ***"
    assert redacted("http://me:pass/w@rd@proxy:3128", environment) == "http://***@proxy:3128"
    assert redacted("/home/someone", environment) == "/home/someone"


def test_the_value_after_a_secret_option_is_hidden() -> None:
    line = ["esdctl", "download", "--token", "abc", "--hf-token=abc", "--output", "abc"]
    assert redacted_arguments(line, {}) == [
        "esdctl", "download", "--token", "***", "--hf-token=***", "--output", "abc",
    ]  # fmt: skip


def test_a_runs_provenance_holds_no_secret() -> None:
    line = ["esdctl", "train", "--prompt", f"x {TOKEN}"]
    assert TOKEN not in str(collect(line))


@pytest.mark.parametrize("debug", ["0", "1"])
def test_an_error_shows_no_token_with_or_without_a_traceback(
    debug: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ESDCTL_DEBUG", debug)
    monkeypatch.setenv("HF_TOKEN", "not-a-hub-form-of-token")
    assert run(["inspect", "not-a-hub-form-of-token"]) == 3
    shown = capsys.readouterr()
    assert "not-a-hub-form-of-token" not in shown.err + shown.out
    assert "***" in shown.err


def test_a_notice_shows_no_token(capsys: pytest.CaptureFixture[str]) -> None:
    from esdctl.cli.terminal import reporting

    with reporting(quiet=False) as reporter:
        assert not isinstance(reporter, Silent)
        reporter.warning(f"{TOKEN} does not work")
        reporter.started(f"fetch {TOKEN}", 1, "files")
    assert TOKEN not in capsys.readouterr().err
