"""A settings file: one command's keys, or a section for each command, as ``esdctl.yaml`` has them.

train:
  devices: "0"
  retain_all: true
"""

from pathlib import Path

from esdctl.errors import InputError, UsageError
from esdctl.names import did_you_mean
from esdctl.settings.yaml_file import read_yaml

WORKSPACE_FILES = ("esdctl.yaml", "esdctl.yml")
SECTIONS = ("train",)


def find_settings_file(root: Path) -> Path | None:
    """The workspace's own file; None where there is none.

    Args:
        root: of the workspace.

    Raises:
        InputError: there are two.
    """
    found = [path for name in WORKSPACE_FILES if (path := root / name).is_file()]
    if len(found) > 1:
        raise InputError(f"{found[0]} and {found[1]} are both there", "keep one of them")
    return found[0] if found else None


def read_section(path: Path, section: str) -> dict[str, object]:
    """What a settings file says for one command; empty where it says nothing.

    A file that is named as the workspace's has sections; any other has one command's keys, unless
    it has that command's section.

    Raises:
        InputError: the file is missing or no mapping.
        UsageError: there is no such section.
    """
    document = read_yaml(path)
    if path.name not in WORKSPACE_FILES and not isinstance(document.get(section), dict):
        return document
    for name in document:
        if name not in SECTIONS:
            below = f"the keys of {section} go below a line `{section}:`"
            hint = did_you_mean(name, SECTIONS, otherwise=below)
            raise UsageError(f"{path}: unknown section {name}", hint)
    values = document.get(section)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: the section {section} has no `key: value` lines")
    return {str(key): value for key, value in values.items()}
