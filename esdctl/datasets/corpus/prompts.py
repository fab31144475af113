"""What a picture model is asked for: short prompts made of our own lists of words. Loads no torch.

The lists in ``words/`` are common nouns, styles, materials, places, people's roles, and names of
artists who died before 1945, as facts. Each word is asked for in a few forms of its kind, alone and
beside words of other lists, which take turns. Change a list or a form, and raise ``VERSION``.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

NAME = "common-prompts"
VERSION = 1
FOLDER = Path(__file__).parent / "words"

_SHOWN = ("{0}", "a photo of {0}", "{0} in {style} style", "a painting of {0} by {artist}")
# The forms of each kind; a name in braces is a word of another list.
FORMS: Mapping[str, tuple[str, ...]] = {
    "animals": _SHOWN,
    "artists": ("{0}", "a painting by {0}", "{nature} by {0}", "in the style of {0}"),
    "food": _SHOWN,
    "materials": ("{0}", "{thing} made of {0}", "the texture of {0}", "{animal} made of {0}"),
    "nature": _SHOWN,
    "places": ("{0}", "a view of {0}", "{0} in {style} style", "{role} in {0}"),
    "roles": _SHOWN,
    "styles": ("{0}", "{0} style", "{thing} in {0} style", "{animal} in {0} style"),
    "things": _SHOWN,
}
_LISTS = {
    "style": "styles", "artist": "artists", "nature": "nature", "thing": "things",
    "animal": "animals", "role": "roles",
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One prompt.

    Args:
        text: as a model is asked.
        words: the entries of the lists that it is made of.
    """

    text: str
    words: tuple[str, ...]


@cache
def words() -> dict[str, tuple[str, ...]]:
    """Each list's words, by its name."""
    return {
        kind: tuple((FOLDER / f"{kind}.txt").read_text(encoding="utf-8").splitlines())
        for kind in FORMS
    }


@cache
def corpus() -> tuple[Entry, ...]:
    """All prompts, each once, in an order that stays."""
    lists = words()
    turns = dict.fromkeys(_LISTS, 0)
    entries: dict[str, Entry] = {}
    for kind, forms in FORMS.items():
        for word in lists[kind]:
            for form in forms:
                beside: dict[str, str] = {}
                for name in _LISTS:
                    if f"{{{name}}}" in form:
                        others = lists[_LISTS[name]]
                        beside[name] = others[turns[name] % len(others)]
                        turns[name] += 1
                text = form.format(word, **beside)
                entries.setdefault(text, Entry(text, (word, *beside.values())))
    return tuple(entries.values())


@cache
def digest() -> str:
    """sha256 over the prompts, one a line."""
    lines = "".join(f"{entry.text}\n" for entry in corpus())
    return hashlib.sha256(lines.encode()).hexdigest()
