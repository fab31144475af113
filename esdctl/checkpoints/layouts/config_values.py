"""What a config says and we do not compute is refused by name; what we do not use is named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esdctl.errors import InputError
from esdctl.models.families.family import Config, Family, ModelPart, Part
from esdctl.models.families.registry import titles

Values = Mapping[str, tuple[object, ...]]
# Keys that a library writes about itself, or about a task of its own.
_ABOUT = ("_", "transformers_version")


def check_part_config(family: Family, part: Part, config: Config, source: Path) -> tuple[str, ...]:
    """Refuse a part whose config asks for another computation than ours.

    Args:
        family: the model's.
        part: which of its parts.
        config: as in config.json.
        source: where it comes from; for messages.

    Returns:
        What the config says and nothing uses, in a sentence for the user; else nothing.

    Raises:
        InputError: the part is of another class, or a setting has another value than we compute.
    """
    kind = family.parts[part]
    class_name = config.get("_class_name")
    if class_name not in (None, kind.class_name):
        raise _refusal(source, part, f"is a {class_name}, not {kind.class_name}")
    for key in other_values(config, kind.only):
        raise _refusal(source, part, f"has {key} {config[key]!r}")
    unknown = sorted(key for key in config if _is_unknown(key, kind))
    if not unknown:
        return ()
    return (f"the config of the {part} says more than this version uses: {', '.join(unknown)}",)


def check_scheduler(family: Family, scheduler: Config, source: Path) -> tuple[str, ...]:
    """Refuse a scheduler of another diffusion process than the family's.

    Args:
        family: the model's.
        scheduler: as in scheduler_config.json.
        source: where it comes from; for messages.

    Returns:
        Which of the sampler's settings are not used, in a sentence for the user; else nothing.

    Raises:
        InputError: it is of another process.
    """
    process = family.process
    class_name = scheduler.get("_class_name")
    other = [f"{key} {scheduler[key]!r}" for key in other_values(scheduler, process.only)]
    if class_name is not None and class_name not in process.samplers:
        other.insert(0, str(class_name))
    if other:
        raise InputError(
            f"{source} has another noise schedule than {family.title}: {', '.join(other)}",
            "this version has the family's own alone; use a model that was trained with it",
        )
    unused = [f"{key} {scheduler[key]}" for key in other_values(scheduler, process.unused)]
    if not unused:
        return ()
    return (f"the model's own settings of its sampler are not used: {', '.join(unused)}",)


def check_whole_scheduler(family: Family, scheduler: Config, source: Path) -> None:
    """Refuse a scheduler_config.json whose noise schedule would be its class's default.

    Raises:
        InputError: it does not say what its process needs, such as its betas.
    """
    needed = family.process.needed
    lacking = [key for key in needed if scheduler.get(key) is None]
    if lacking and scheduler.get("trained_betas") is None:
        usual = ", ".join(str(value) for value in needed.values())
        raise InputError(
            f"{source}: its scheduler_config.json does not say {', '.join(lacking)}",
            f"add {family.title}'s own if they are its: {usual}",
        )


def other_values(config: Config, allowed: Values) -> list[str]:
    """The keys of a config that have none of the allowed values; of a list, every item counts."""
    return [
        key for key, values in allowed.items() if key in config and _is_other(config[key], values)
    ]


def _is_other(value: Any, allowed: tuple[object, ...]) -> bool:
    items = value if isinstance(value, list | tuple) else (value,)
    return any(item not in allowed for item in items)


def _is_unknown(key: str, kind: ModelPart) -> bool:
    is_known = kind.free is None or key in kind.free or key in kind.only
    return not is_known and not key.startswith(_ABOUT)


def _refusal(source: Path, part: Part, reason: str) -> InputError:
    return InputError(
        f"{source}: the {part} {reason}, which this version does not compute",
        f"use a model of {titles()} as it was published, or a fine-tune of one",
    )
