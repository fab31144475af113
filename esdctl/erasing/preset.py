"""Named settings: YAML files beside this one. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from esdctl.errors import UsageError
from esdctl.names import did_you_mean
from esdctl.settings.yaml_file import read_yaml

FOLDER = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class Preset:
    """A preset's values for one template.

    Args:
        name: as the user types it.
        values: TrainConfig's keys.
        note: what the user should know about it; empty if nothing.
    """

    name: str
    values: Mapping[str, object]
    note: str


def preset_names() -> list[str]:
    """All presets."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def preset_keys() -> set[str]:
    """The settings that any preset names."""
    presets = [
        load_preset(name, template, False)
        for name in preset_names()
        for template in ("style", "object")
    ]
    return {key for preset in presets for key in preset.values}


def paper_eta(authors_eta: float, erase_from: bool) -> float:
    """The authors' present eta in the paper's convention.

    Their target without erase-from starts from eps*(c), so their eta is the paper's plus 1; with
    erase-from the two agree.
    """
    return authors_eta if erase_from else authors_eta - 1.0


def load_preset(name: str, template: str, erase_from: bool) -> Preset:
    """Read a preset.

    A preset says what differs from the settings' defaults, or, where it was ``published``, all of
    what was. It may hold a section per template under ``templates``, which adds to its other keys,
    and ``authors_negative_guidance``, eta in the convention of the authors' present code, which is
    converted to the paper's: minus 1 without erase-from, unchanged with it.

    Raises:
        UsageError: there is no such preset.
    """
    if name not in preset_names():
        raise UsageError(f"no preset {name!r}", did_you_mean(name, preset_names()))
    values = read_yaml(FOLDER / f"{name}.yaml")
    for key in ("about", "published"):
        values.pop(key, None)
    templates = values.pop("templates", {})
    if isinstance(templates, dict):
        values |= templates.get(template, {})
    note = ""
    if "authors_negative_guidance" in values:
        theirs = float(str(values.pop("authors_negative_guidance")))
        ours = paper_eta(theirs, erase_from)
        values["negative_guidance"] = ours
        note = (
            f"negative_guidance {theirs:g} of the authors' code is {ours:g} "
            "in the paper's convention"
        )
    return Preset(name, values, note)
