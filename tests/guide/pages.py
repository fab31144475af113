"""The fenced blocks of README and guide, and the command lines in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY

PAGES = (REPOSITORY / "README.md", *sorted((REPOSITORY / "esdctl/guide").glob("*.md")))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BETWEEN_COMMANDS = {"|", "&&", "||", ";", "(", ")", "&"}


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Args:
        page: the file.
        language: bash (run here), console (parsed), python (run here), yaml, sh or none.
        text: between the fences.
    """

    page: Path
    language: str
    text: str


def blocks(language: str) -> list[Block]:
    """All blocks of a language, page by page."""
    return [
        Block(page, found, text)
        for page in PAGES
        for found, text in _FENCE.findall(page.read_text(encoding="utf-8"))
        if found == language
    ]


def command_lines(text: str) -> Iterator[list[str]]:
    """Each simple command of a shell block, as its words; assignments and redirections dropped."""
    joined = text.replace("\\\n", " ").replace("&&\n", "&& ").replace("|\n", "| ")
    for line in joined.splitlines():
        lexer = shlex.shlex(_without_substitution(line), posix=True, punctuation_chars="|&;()<>")
        lexer.commenters = "#"
        lexer.whitespace_split = True
        yield from _commands(list(lexer))


def _without_substitution(line: str) -> str:
    """``model=$(esdctl train ...) && ...`` as two commands."""
    return re.sub(r"\w+=\$\(([^)]*)\)", r"\1", line)


def _commands(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    skip = False
    for word in [*words, ";"]:
        if word in _BETWEEN_COMMANDS:
            if command:
                yield command
            command = []
        elif word in (">", ">>", "<"):
            skip = True
        elif skip:
            skip = False
        elif command or not re.fullmatch(r"[A-Za-z_]\w*=.*", word):
            command.append(word)
