"""How long attacks search: ``quick``, the papers' own, or a file of the user's."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from esdctl.attacks.attack import PAPER, QUICK, Attack, Settings, find_attack
from esdctl.errors import InputError, UsageError
from esdctl.settings.yaml_file import read_yaml

SAMPLING_STEPS = "sampling_steps"  # a key of a budget's file, beside the attacks' names
MAY_BE_ZERO = ("timestep", "until", "vocabulary")  # all other whole numbers count something


@dataclass(frozen=True)
class Budget:
    """The settings of all attacks.

    Args:
        name: part of the results' folders.
        changes: attack -> what differs from ``quick``; empty for a preset.
        sampling_steps: of the pictures that are judged; None for the judge's own.
    """

    name: str
    changes: Mapping[str, Settings] = field(default_factory=dict)
    sampling_steps: int | None = None

    def settings(self, attack: Attack) -> Settings:
        """Those of one attack."""
        preset = attack.budgets[PAPER if self.name == PAPER else QUICK]
        return {**preset, **self.changes.get(attack.name, {})}


def parse_budget(text: str) -> Budget:
    """``quick``, ``paper``, or a YAML file: attack -> settings that differ from quick's.

    Raises:
        UsageError: there is no such budget, attack or setting.
        InputError: the file is damaged.
    """
    if text.lower() in (QUICK, PAPER):
        return Budget(text.lower())
    path = Path(text)
    if not path.is_file():
        raise UsageError(
            f"--budget is {text!r}", f"use {QUICK}, {PAPER}, or a YAML file of settings"
        )
    document = read_yaml(path)
    steps = document.pop(SAMPLING_STEPS, None)
    if steps is not None and not (type(steps) is int and 1 <= steps <= 1000):
        raise InputError(f"{path}: {SAMPLING_STEPS} is {steps!r}", "use 1 to 1000")
    changes = {name: _settings(path, find_attack(name), each) for name, each in document.items()}
    name = re.sub(r"[^\w.+]+", "_", path.stem).strip(".") or "own"
    return Budget(f"{name}_" if name in (QUICK, PAPER) else name, changes, steps)


def _settings(path: Path, attack: Attack, values: object) -> Settings:
    known = attack.budgets[QUICK]
    if not isinstance(values, Mapping):
        raise InputError(f"{path}: {attack.name} has no settings", f"known: {', '.join(known)}")
    for key, value in values.items():
        if key not in known:
            raise InputError(
                f"{path}: {attack.name} has no setting {key!r}", f"known: {', '.join(known)}"
            )
        if type(value) not in (int, float) or value < 0:
            raise InputError(f"{path}: {attack.name}: {key} is {value!r}", "use a number")
        if isinstance(known[key], int) and key not in MAY_BE_ZERO and (value < 1 or value % 1):
            raise InputError(
                f"{path}: {attack.name}: {key} is {value!r}", "use a whole number from 1 on"
            )
    return dict(values)
