"""The layers of settings that an erasure is asked for with, in the present form. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from esdctl.erasing.config import TrainConfig
from esdctl.erasing.preset import Preset
from esdctl.settings.resolve import Resolved, resolve
from esdctl.settings.unlearn_diff.keys import Translated, translate
from esdctl.settings.yaml_file import read_yaml

SECTION = "train"
_FORMER_VARIABLES = {"ESDCTL_TRAIN_DEVICE": "ESDCTL_TRAIN_DEVICES"}


@dataclass(frozen=True)
class Sources:
    """Flags, environment and file, before any preset.

    Args:
        flags: of the command line.
        environment: ``ESDCTL_TRAIN_...``.
        path: of the settings file, or None.
        file: what it says; empty without one.
    """

    flags: Translated
    environment: Mapping[str, str]
    path: Path | None
    file: Translated

    @property
    def is_unlearn_diff(self) -> bool:
        """Whether file or command line were written for unlearn_diff."""
        return self.flags.is_unlearn_diff or self.file.is_unlearn_diff

    @property
    def unused(self) -> tuple[str, ...]:
        """Keys that were given and have no effect, each once."""
        return tuple(dict.fromkeys((*self.file.unused, *self.flags.unused)))

    def resolve(self, preset: Preset | None) -> Resolved[TrainConfig]:
        """The settings with their origins.

        Raises:
            UsageError: a value is not allowed, or a variable is unknown.
        """
        return resolve(
            TrainConfig, SECTION, self.flags.values, self.environment, self.path,
            preset.values if preset else None, preset.name if preset else "", self.file.values,
        )  # fmt: skip


def read_sources(
    flags: Mapping[str, object | None], environment: Mapping[str, str], path: Path | None
) -> Sources:
    """Read the file, and translate unlearn_diff's keys wherever they stand.

    Raises:
        InputError: the file is missing or no mapping.
        UsageError: a key is unknown or given twice.
    """
    known = TrainConfig.model_fields
    given = {key: value for key, value in flags.items() if value is not None}
    file = translate(read_yaml(path) if path else {}, known, f"file {path}")
    if "output_dir" in file.values and "format" not in file.values:
        file = replace(file, is_unlearn_diff=True)  # only unlearn_diff's form needs no format
    if file.is_unlearn_diff:
        file = replace(file, values={"format": "unlearn-diff", **file.values})
    spelled = {_FORMER_VARIABLES.get(key, key): value for key, value in environment.items()}
    return Sources(translate(given, known, "flag"), spelled, path, file)
