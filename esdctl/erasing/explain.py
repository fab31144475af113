"""A settings file explained key by key, or written in the present form. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from esdctl.erasing.concepts import template_of
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.methods import with_method
from esdctl.erasing.preset import load_preset, preset_keys
from esdctl.erasing.request import SECTION, EraseRequest, Sources, read_sources
from esdctl.erasing.several import with_several
from esdctl.erasing.unlearn_diff_names import check_names
from esdctl.errors import UsageError
from esdctl.settings.devices import parse_devices
from esdctl.settings.resolve import Layer, resolve
from esdctl.settings.setting import setting_of
from esdctl.settings.settings_file import read_section
from esdctl.settings.unlearn_diff.keys import (
    ONLY_OF_UNLEARN_DIFF,
    RENAMED,
    RULES,
    UNUSED,
    translate,
)

PRESET = "unlearn-diff"


@dataclass(frozen=True)
class Explained:
    """One key of a file.

    Args:
        key, value: as written.
        meaning: in a few words.
        becomes: the present key and value, or why it has none.
        fault: what is wrong with it; empty if nothing.
    """

    key: str
    value: object
    meaning: str
    becomes: str
    fault: str = ""


@dataclass(frozen=True)
class Explanation:
    """A whole file.

    Args:
        is_unlearn_diff: whether it was written for unlearn_diff.
        rows: a row a key, in the file's order.
        defaults: what holds for keys that the file leaves out, by present key.
        faults: all that is wrong; of single keys and of what they say together.
    """

    is_unlearn_diff: bool
    rows: tuple[Explained, ...]
    defaults: Mapping[str, object]
    faults: tuple[str, ...]


def explain(path: Path) -> Explanation:
    """Say what each key of a settings file means and becomes.

    Raises:
        InputError: the file is missing or no mapping.
    """
    rows = tuple(_explained(key, value, path) for key, value in read_section(path, SECTION).items())
    faults = [row.fault for row in rows if row.fault]
    is_unlearn_diff = any(row.key in ONLY_OF_UNLEARN_DIFF for row in rows)
    if faults:
        return Explanation(is_unlearn_diff, rows, {}, tuple(faults))
    try:
        sources = read_sources(EraseRequest(config_file=path))
        config = _settled(sources)
    except UsageError as error:
        return Explanation(is_unlearn_diff, rows, {}, (_with_hint(error),))
    is_unlearn_diff = sources.is_unlearn_diff
    named = {RENAMED.get(row.key, row.key) for row in rows}
    written = config.model_dump(mode="json", exclude_none=True)
    left_out = {key: value for key, value in written.items() if key not in named and value != []}
    return Explanation(is_unlearn_diff, rows, left_out if is_unlearn_diff else {}, ())


def migrate(path: Path) -> str:
    """A settings file in the present form, YAML that needs no preset.

    Raises:
        InputError: the file is missing or no mapping.
        UsageError: something in it is wrong.
    """
    sources = read_sources(EraseRequest(config_file=path))
    config = _settled(sources)
    notes = [f"without effect: {key} ({UNUSED[key]})" for key in sources.unused]
    architecture = config.model_config_path
    if sources.is_unlearn_diff and architecture is not None and not architecture.is_file():
        notes.append(f"not here: model_config_path {architecture}")
        config = config.model_copy(update={"model_config_path": None})
    written = config.model_dump(mode="json")
    if sources.is_unlearn_diff:
        kept = {*sources.file.values, "template", *preset_keys()}
    else:
        kept = set(sources.file.values)
    settings = {
        key: value
        for key, value in written.items()
        if key in kept and (value not in (None, []) or key == "separator")
    }
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    return "".join(f"# left out, {note}\n" for note in notes) + text


def _settled(sources: Sources) -> TrainConfig:
    """The file's settings, over unlearn_diff's defaults if it is one of its files.

    Raises:
        UsageError: a value is not allowed, or the name is none of the data set's.
    """
    if not sources.is_unlearn_diff:
        return sources.resolve(None).value
    config = sources.resolve(load_preset(PRESET, "style", False)).value
    template = template_of(config)
    check_names([sources.file], template, str(config.concept))
    return config.model_copy(update={"template": template})


def _explained(key: str, value: object, path: Path) -> Explained:
    """One key on its own."""
    try:
        alone = translate({key: value}, TrainConfig, f"file {path}")
        layers = with_method(with_several([Layer(f"file {path}", alone.values)]))
        config = resolve(TrainConfig, layers).value
    except UsageError as error:
        return Explained(key, value, _meaning(key), "", _with_hint(error))
    if key in UNUSED:
        return Explained(key, value, f"not used any more: {UNUSED[key]}", "nothing")
    if key in RULES:
        return Explained(key, value, RULES[key], "a check of the name")
    written = config.model_dump(mode="json")
    becomes = "; ".join(f"{name}: {_shown(name, written[name])}" for name in alone.values)
    return Explained(key, value, _meaning(key), becomes)


def _meaning(key: str) -> str:
    name = RENAMED.get(key, key)
    return setting_of(TrainConfig, name).help if name in TrainConfig.model_fields else "unknown"


def _shown(name: str, value: object) -> str:
    if name == "devices" and value is not None:
        return f"{value} ({', then '.join(parse_devices(str(value)))})"
    return "null" if value is None else str(value)


def _with_hint(error: UsageError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
