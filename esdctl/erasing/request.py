"""What an erasure is asked for with, before any preset is chosen. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from esdctl.erasing.config import TrainConfig
from esdctl.erasing.methods import with_method
from esdctl.erasing.preset import Preset
from esdctl.erasing.several import with_several
from esdctl.erasing.training_length import settled, with_one_length
from esdctl.settings.resolve import Layer, Resolved, read_environment, resolve, variables_of
from esdctl.settings.settings_file import read_section
from esdctl.settings.unlearn_diff.keys import Translated, translate

SECTION = "train"


@dataclass(frozen=True)
class EraseRequest:
    """What to erase, and how.

    Args:
        flags: settings by their keys or unlearn_diff's; the strongest.
        environment: usually ``os.environ``; of it ``ESDCTL_TRAIN_...`` counts.
        config_file: a YAML file of settings, or None.
        workspace_file: the workspace's ``esdctl.yaml``, used where ``config_file`` is None.
        preset: its name, or None for the one that suits file, model and template.
        output: the run folder, or None for one below the workspace's outputs.
        is_unlearn_diff_line: whether the flags are spelt as unlearn_diff's; then what is named
            nowhere has its defaults, the concept too.
    """

    flags: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    config_file: Path | None = None
    workspace_file: Path | None = None
    preset: str | None = None
    output: Path | None = None
    is_unlearn_diff_line: bool = False


@dataclass(frozen=True)
class Sources:
    """The layers of settings in the present form, before any preset.

    Args:
        path: of the settings file, or None.
        file: what it says; empty without one.
        environment: a layer for each variable.
        flags: of the command line.
        lr_batch: the batch that the file's learning rate belongs to, where a run's record says so.
    """

    path: Path | None
    file: Translated
    environment: tuple[Layer, ...] = ()
    flags: Translated = Translated({}, False)  # noqa: RUF009  # frozen
    lr_batch: int | None = None

    @property
    def is_unlearn_diff(self) -> bool:
        """Whether file or command line were written for unlearn_diff."""
        return self.flags.is_unlearn_diff or self.file.is_unlearn_diff

    @property
    def unused(self) -> tuple[str, ...]:
        """Keys of unlearn_diff that were given and have no effect, each once."""
        return tuple(dict.fromkeys((*self.file.unused, *self.flags.unused)))

    def resolve(self, preset: Preset | None) -> Resolved[TrainConfig]:
        """The settings with their origins.

        Raises:
            UsageError: a value is not allowed, or the length of the training is named twice.
        """
        layers = [
            Layer(f"file {self.path}", self.file.values),
            *self.environment,
            Layer("flag", self.flags.values),
        ]
        if preset is not None:
            layers.insert(0, Layer(f"preset {preset.name}", preset.values))
        named = with_method(with_several(layers))
        return settled(resolve(TrainConfig, with_one_length(named)))


def read_sources(request: EraseRequest) -> Sources:
    """Read file and environment, and translate unlearn_diff's keys wherever they stand.

    Raises:
        InputError: the file is missing or no mapping.
        UsageError: a key or variable is unknown, or a key is given twice.
    """
    path = request.config_file or request.workspace_file
    file = translate(read_section(path, SECTION) if path else {}, TrainConfig, f"file {path}")
    if request.config_file and "output_dir" in file.values and "format" not in file.values:
        file = replace(file, is_unlearn_diff=True)  # only unlearn_diff's form needs no format
    if file.is_unlearn_diff:
        file = replace(file, values={"format": "unlearn-diff", **file.values})
    environment = read_environment(TrainConfig, SECTION, request.environment)
    return Sources(path, file, tuple(environment), translate(request.flags, TrainConfig, "flag"))


def unused_variables(environment: Mapping[str, str], reason: str) -> tuple[str, ...]:
    """A sentence on the variables of ``train`` that are set and have no effect; none without any.

    Args:
        environment: usually ``os.environ``.
        reason: why they have none.
    """
    names = [name for name in variables_of(TrainConfig, SECTION) if environment.get(name)]
    return (f"{', '.join(names)} (environment) is not used: {reason}",) if names else ()
