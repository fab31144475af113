"""What a shell offers after Tab: concepts, presets, methods, models and runs. Loads no torch.

``COMPLETIONS`` says it for each parameter by its name; ``esdctl.cli.command`` hands it to Typer.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import get_args

from esdctl.errors import EsdctlError, UsageError
from esdctl.storage.workspace import Workspace, find_workspace

_VARIABLE = "_ESDCTL_COMPLETE"  # a shell's script sets it for the one call that asks
_INSTRUCTION = re.compile(r"(complete|source)_(bash|zsh|fish|powershell|pwsh)")


def check_completion(environment: Mapping[str, str]) -> None:
    """What a shell must say beside the question what to offer; Typer takes it for granted.

    Raises:
        UsageError: somebody set the variable who is no shell's completion.
    """
    instruction = environment.get(_VARIABLE, "")
    is_known = not instruction or _INSTRUCTION.fullmatch(instruction)
    in_bash = instruction == "complete_bash"
    has_words = "COMP_WORDS" in environment and environment.get("COMP_CWORD", "").isdecimal()
    if not is_known or (in_bash and not has_words):
        why = "COMP_WORDS and COMP_CWORD are not set" if in_bash else "no shell asks so"
        raise UsageError(
            f"{_VARIABLE}={instruction} asks for a shell's completion, but {why}",
            f"unset {_VARIABLE}; `esdctl --install-completion` sets completion up",
        )


def complete_run(incomplete: str) -> list[str]:
    """The workspace's runs."""
    from esdctl.models.named import run_folders

    return _beginning(incomplete, (run.name for run in run_folders(_workspace())))


def complete_model(incomplete: str) -> list[str]:
    """What ``--model`` takes here: names, runs, and what lies in the folder that is being typed."""
    from esdctl.models.named import known_models

    return _beginning(incomplete, known_models(_workspace())) + _paths(incomplete)


def complete_concept(incomplete: str) -> list[str]:
    """The styles and objects of UnlearnCanvas."""
    from esdctl.datasets.unlearn_canvas import OBJECTS, STYLES

    return _beginning(incomplete, (*STYLES, *OBJECTS))


def complete_preset(incomplete: str) -> list[str]:
    """The presets that ship."""
    from esdctl.erasing.preset import preset_names

    return _beginning(incomplete, preset_names())


def complete_method(incomplete: str) -> list[str]:
    """The train methods."""
    from esdctl.erasing.train_methods import all_methods

    return _beginning(incomplete, all_methods())


def complete_download(incomplete: str) -> list[str]:
    """The models of the catalogue, and what is here of the hub's."""
    return _of_catalogue(incomplete, "model")


def complete_data_set(incomplete: str) -> list[str]:
    """The data sets of the catalogue."""
    return _of_catalogue(incomplete, "dataset")


def complete_verified(incomplete: str) -> list[str]:
    """What ``verify`` takes: names of the catalogue, runs, paths."""
    names = complete_download(incomplete) + complete_data_set(incomplete)
    return names + complete_run(incomplete) + _paths(incomplete)


def complete_style(incomplete: str) -> list[str]:
    """The styles of UnlearnCanvas."""
    from esdctl.datasets.unlearn_canvas import STYLES

    return _beginning(incomplete, STYLES)


def complete_object(incomplete: str) -> list[str]:
    """The objects of UnlearnCanvas."""
    from esdctl.datasets.unlearn_canvas import OBJECTS

    return _beginning(incomplete, OBJECTS)


def complete_category(incomplete: str) -> list[str]:
    """The categories of I2P."""
    from esdctl.datasets.i2p import CATEGORIES

    return _beginning(incomplete, CATEGORIES)


def complete_device(incomplete: str) -> list[str]:
    """Kinds of devices; which of them are here, only torch knows."""
    return _beginning(incomplete, ("cpu", "cuda", "cuda:0", "mps"))


def choices_of(setting: str) -> "Completion":
    """What offers the choices that a setting of ``train`` has."""

    def complete(incomplete: str) -> list[str]:
        from esdctl.erasing.config import TrainConfig

        field = TrainConfig.model_fields.get(setting)
        return _beginning(incomplete, _choices(field.annotation) if field else ())

    return complete


def one_of(words: Iterable[str]) -> "Completion":
    """What offers some of these words."""

    def complete(incomplete: str) -> list[str]:
        return _beginning(incomplete, words)

    return complete


def _choices(annotation: object) -> list[str]:
    """The words of a Literal, also within a union."""
    found: list[str] = []
    for part in get_args(annotation):
        found += [part] if isinstance(part, str) else _choices(part)
    return found


def _of_catalogue(incomplete: str, kind: str) -> list[str]:
    from esdctl.catalog.artifacts import load_catalog

    artifacts = load_catalog(None).artifacts
    names = (artifact.name for artifact in artifacts if artifact.kind == kind)
    return _beginning(incomplete, dict.fromkeys(names))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    wanted = incomplete.casefold()
    return [name for name in names if name.casefold().startswith(wanted)]


def _paths(incomplete: str) -> list[str]:
    """Files and folders, since a shell that asks us does not look at the disk itself."""
    if not incomplete:
        return []
    folder, slash, start = incomplete.rpartition("/")
    with suppress(OSError, RuntimeError):  # RuntimeError: ~ without a home
        names = sorted(path.name for path in Path(folder + slash or ".").expanduser().iterdir())
        shown = [name for name in names if start or not name.startswith(".")]
        return [folder + slash + name for name in shown if name.startswith(start)]
    return []


def _workspace() -> Workspace:
    with suppress(EsdctlError):
        return find_workspace(None)
    return Workspace(Path())


# The words are those of modules that load torch; a test holds the two together.
SCHEDULERS = ("ddim", "dpmsolver++", "unipc")
FORMS = ("compvis", "diffusers", "unet", "delta", "lora", "kohya", "authors")

Completion = Callable[[str], list[str]]

# The name of a parameter -> what to offer for it; "COMMAND.NAME" where it differs between commands.
COMPLETIONS: dict[str, Completion] = {
    "apply.deltas": complete_model,
    "base": complete_model,
    "blur": one_of(("all", "unsafe", "none")),
    "category": complete_category,
    "concept": complete_concept,
    "dataset.name": complete_data_set,
    "device": complete_device,
    "devices": complete_device,
    "diff.first": complete_model,
    "diff.second": complete_model,
    "download.names": complete_download,
    "dtype": choices_of("dtype"),
    "export.model": complete_model,
    "fetch.name": complete_data_set,
    "format": choices_of("format"),
    "info.name": complete_data_set,
    "inspect.path": complete_model,
    "layout": one_of(("unlearn-canvas",)),
    "model": complete_model,
    "object_": complete_object,
    "objects": complete_object,
    "preset": complete_preset,
    "prompts.name": complete_data_set,
    "report.runs": complete_run,
    "resume": complete_run,
    "retain": complete_concept,
    "scheduler": one_of(SCHEDULERS),
    "style": complete_style,
    "styles": complete_style,
    "template": choices_of("template"),
    "to": one_of(FORMS),
    "tracker": choices_of("tracker"),
    "train_method": complete_method,
    "trajectory": choices_of("trajectory"),
    "verify.names": complete_verified,
}


def completion_of(command: str, parameter: str) -> Completion | None:
    """What to offer for a parameter of a command; None for free text, numbers and flags."""
    return COMPLETIONS.get(f"{command}.{parameter}") or COMPLETIONS.get(parameter)
