"""``esdctl guide``: its pages, their links, and how they come out."""

import re
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.cli.guide import PAGES, topics
from tests.conftest import REPOSITORY
from tests.guide.pages import blocks

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def test_without_a_topic_the_pages_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["guide"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == topics()
    assert topics()[0] == "models"
    assert all(len(line) <= 80 for line in lines)


def test_a_page_comes_out_as_markdown_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["guide", "exit-status"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# Exit status")
    assert "\x1b" not in out


def test_a_misspelt_topic_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["guide", "erassing"]) == 2
    assert "did you mean erasing?" in capsys.readouterr().err


def test_the_settings_page_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    from esdctl.erasing.config import TrainConfig

    assert run(["guide", "settings"]) == 0
    out = capsys.readouterr().out
    assert [key for key in TrainConfig.model_fields if f"`{key}`" not in out] == []
    assert "<!--" not in out


@pytest.mark.parametrize("page", [REPOSITORY / "README.md", *sorted(PAGES.glob("*.md"))])
def test_links_lead_to_files_and_lines_fit(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in LINK.findall(text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
    assert text.startswith("# ")
    for line in text.splitlines():
        assert len(line) <= 120 or line.startswith(("|", "![")), line


def test_printed_commands_fit_a_terminal_of_80_columns() -> None:
    languages = ("bash", "console", "python")
    lines = [
        line
        for language in languages
        for block in blocks(language)
        for line in block.text.splitlines()
        if block.page.parent == PAGES
    ]
    assert [line for line in lines if len(line) > 78] == []


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
