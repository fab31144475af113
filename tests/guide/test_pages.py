"""``esdctl guide``: its pages, their links, and how they come out."""

import re
from collections import Counter
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.cli.guide import PAGES, page, topics
from esdctl.cli.markdown import print_markdown
from tests.conftest import REPOSITORY

FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
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


@pytest.mark.parametrize("path", [REPOSITORY / "README.md", *sorted(PAGES.glob("*.md"))])
def test_links_lead_to_files_and_lines_fit(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in LINK.findall(text):
        if "://" not in target:
            assert (path.parent / target).exists(), target
    assert text.startswith("# ")
    for line in text.splitlines():
        assert len(line) <= 120 or line.startswith(("|", "![")), line


@pytest.mark.parametrize("topic", topics())
def test_a_page_fits_a_terminal_of_80_columns_without_cutting_a_word(
    topic: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_markdown(page(topic))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    source = re.sub(r"^```\w*$", "", LINK.sub("]", page(topic)), flags=re.MULTILINE)
    words, expected = (Counter(re.findall(r"\w+", text)) for text in (shown, source))
    assert [word for word in expected if words[word] < expected[word]] == []


def test_what_is_printed_as_code_is_not_folded_in_a_terminal_of_80_columns() -> None:
    pages = [path.read_text(encoding="utf-8") for path in sorted(PAGES.glob("*.md"))]
    code = [block for text in pages for block in FENCED.findall(text)]
    indented = [line[4:] for text in pages for line in text.splitlines() if line[:4] == "    "]
    lines = [line for block in code for line in block.splitlines()]
    assert [line for line in (*lines, *indented) if len(line) > 78] == []


def test_the_readme_is_short() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
