"""The commands: where each is, and its line in the list; a command is imported when it is used."""

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer

from esdctl.cli.command import CommandGroup, Group

_ERASE, _MODELS = "Erase and measure", "Models and data on disk"
_MORE = "Settings, this machine, help"


@dataclass(frozen=True)
class Entry:
    """A command in the list of all.

    Args:
        line: the first paragraph of its help.
        panel: the heading above it.
        attribute: in the module of its name: a function, or ``app`` for a group.
    """

    line: str
    panel: str
    attribute: str = ""


ENTRIES = {
    "train": Entry("Erase a concept from a model; print the run folder.", _ERASE),
    "sample": Entry("Sample pictures: a PNG each, and a row each in pictures.jsonl.", _ERASE),
    "evaluate": Entry("Measure what an erasure took and left, beside the base.", _ERASE),
    "attack": Entry("Try to bring an erased concept back; print each attack's result.", _ERASE),
    "compare": Entry("Compare erasures under one protocol; print a line a run.", _ERASE),
    "report": Entry("Write a page about runs; print its path.", _ERASE),
    "sweep": Entry("Many erasures: plan them, run them, and see what came out.", _ERASE, "app"),
    "runs": Entry("List what was erased here; rm removes runs, rerun repeats one.", _ERASE, "app"),
    "download": Entry("Fetch models; print each one's folder.", _MODELS),
    "dataset": Entry("Fetch, count and look at data sets.", _MODELS, "app"),
    "verify": Entry(
        "Check models, data sets and runs on disk; exit 1 when something is wrong.", _MODELS
    ),
    "inspect": Entry(
        "Tell family, layout, precision, size, concept and settings; no tensor is loaded.", _MODELS
    ),
    "diff": Entry(
        "Compare two models tensor by tensor; print the names of those that differ.", _MODELS
    ),
    "apply": Entry(
        "Add the changes of one or more erasures to a base; print the result's path.", _MODELS
    ),
    "export": Entry("Write a complete model, a delta or a LoRA; print its path.", _MODELS),
    "guide": Entry("Read about a topic; without one, list the topics.", _MORE),
    "doctor": Entry(
        "Tell versions, devices, disk, hub, caches, extras, models, judges, and what is missing.",
        _MORE,
    ),
    "config": Entry("Explain a settings file, or bring it up to date.", _MORE, "app"),
    "bench": Entry(
        "Measure this machine: a training pair, a picture, the opening of a model.", _MORE, "app"
    ),
}


class Root(Group):
    """The root command: it knows the list of commands without importing any."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": LazyCommands()})
        self.entries = ENTRIES


class LazyCommands(MutableMapping[str, Any]):
    """Name -> Typer's command, made when it is first asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            entry = ENTRIES[name]
            found = getattr(import_module(f"esdctl.cli.{name}"), entry.attribute or name)
            self._made[name] = _command(name, found)
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError("the list of commands is fixed")

    def __iter__(self) -> Iterator[str]:
        return iter(ENTRIES)

    def __len__(self) -> int:
        return len(ENTRIES)


def _command(name: str, found: Any) -> Any:
    if isinstance(found, CommandGroup):
        return typer.main.get_group(found)
    alone = CommandGroup(add_completion=False)
    alone.command(name)(found)
    return typer.main.get_command(alone)
