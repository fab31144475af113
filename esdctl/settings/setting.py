"""Setting: what stands beside a field's name, type, limits and default.

Of both are made: option, environment variable, YAML key, explanation, digest rule, table.

    lr: Annotated[float, Field(gt=0), Setting("Learning rate of Adam.", "Training")] = 1e-5
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from esdctl.names import did_you_mean


@dataclass(frozen=True)
class Needs:
    """A setting has an effect only where another one has one of these values.

    Args:
        key: the other setting.
        values: its values; where none are named, any but None and an empty one.
    """

    key: str
    values: tuple[str, ...] = ()

    def are_met(self, config: BaseModel) -> bool:
        """Whether the setting has an effect."""
        value = getattr(config, self.key)
        return value in self.values if self.values else bool(value)

    def __str__(self) -> str:
        return f"{self.key} {' or '.join(self.values)}" if self.values else self.key


@dataclass(frozen=True)
class Setting:
    """What a field's type and default do not say.

    Args:
        help: one or two short sentences.
        panel: its heading in the help; empty for what people use first.
        unset: what holds where the value is None.
        choices: the words that are allowed, where the type does not list them.
        metavar: the value's form in the help, where the type does not say it.
        flags: other spellings of its option.
        decides: what of it decides a result, and goes into the digest: its value, the content of
            the file that it names, other settings that it stands for, or nothing, so that an
            interrupted run may go on with another.
        needs: what it has an effect with; None for always.
        is_repeatable: whether its option may be given several times, though it is no list; what
            reads the settings makes something of the others.
    """

    help: str
    panel: str = ""
    unset: str = ""
    choices: tuple[str, ...] = ()
    metavar: str = ""
    flags: tuple[str, ...] = ()
    decides: Literal["value", "content", "others", "nothing"] = "value"
    needs: Needs | None = None
    is_repeatable: bool = False


@dataclass(frozen=True)
class Field:
    """A setting with all that is known of it, in words.

    Args:
        name: the key in YAML.
        setting: what stands beside the type.
        kind: ``flag``, ``list`` or ``value``.
        choices: the words that are allowed; empty where they are not listed.
        allowed: type and limits, such as ``integer, at least 1, or auto``.
        metavar: the value's form in the help, such as ``N|auto``.
        default: such as ``1e-05``, or what holds where nothing is set.
    """

    name: str
    setting: Setting
    kind: Literal["flag", "list", "value"]
    choices: tuple[str, ...]
    allowed: str
    metavar: str
    default: str


def setting_of(model: type[BaseModel], name: str) -> Setting:
    """The Setting beside a field's type.

    Raises:
        KeyError: the model has no such field.
        TypeError: there is none.
    """
    for entry in model.model_fields[name].metadata:
        if isinstance(entry, Setting):
            return entry
    raise TypeError(f"{model.__name__}.{name} has no Setting beside its type")


def fields_of(model: type[BaseModel]) -> dict[str, Field]:
    """All settings of a model, in its order."""
    schema = model.model_json_schema()
    return {name: _field(model, name, schema["properties"][name]) for name in model.model_fields}


def names_elsewhere(model: type[BaseModel]) -> Mapping[str, str]:
    """What other programs call a setting -> its name here; of the model's ``names_elsewhere``."""
    return getattr(model, "names_elsewhere", {})


def unknown_key_hint(key: str, model: type[BaseModel], more: Iterable[str] = ()) -> str:
    """What somebody may have meant who wrote a key that is none of the model's.

    Args:
        key: as written.
        model: its fields are the settings.
        more: other keys that are allowed, without being listed.
    """
    name = names_elsewhere(model).get(key.replace("-", "_").strip("_").lower())
    if name is not None:
        return f"it is called {name} here"
    known = sorted(model.model_fields)
    return did_you_mean(key, [*known, *more], otherwise=f"known: {', '.join(known)}")


def has_effect(config: BaseModel, name: str) -> bool:
    """Whether a setting matters beside the others."""
    needs = setting_of(type(config), name).needs
    return needs is None or needs.are_met(config)


def _field(model: type[BaseModel], name: str, schema: Mapping[str, Any]) -> Field:
    setting = setting_of(model, name)
    parts = [part for part in schema.get("anyOf", [schema]) if part.get("type") != "null"]
    types = {part.get("type") for part in parts}
    choices = setting.choices or tuple(word for part in parts for word in _words(part))
    others = [] if setting.choices else [part for part in parts if not _words(part)]
    allowed = [_limits(part) for part in others]
    if choices:
        allowed.append(" or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]])))
    forms = [_FORMS.get(_type(part), "TEXT") for part in others]
    default = model.model_fields[name].get_default(call_default_factory=True)
    return Field(
        name,
        setting,
        "flag" if types == {"boolean"} else "list" if types == {"array"} else "value",
        choices,
        ", or ".join(allowed),
        setting.metavar or "|".join((*forms, *choices)),
        _shown(default) or setting.unset,
    )


# Types of JSON Schema (``path`` is a format of text): how the help spells a value.
_FORMS = {"integer": "N", "number": "X", "path": "PATH", "boolean": ""}
_TYPES = {"boolean": "yes or no", "array": "a text, or several", "string": "text"}
_LIMITS = {
    "minimum": "at least {}", "exclusiveMinimum": "above {}", "maximum": "at most {}",
    "exclusiveMaximum": "below {}", "multipleOf": "a multiple of {}",
}  # fmt: skip


def _type(part: Mapping[str, Any]) -> str:
    return str(part.get("format") or part.get("type"))


def _words(part: Mapping[str, Any]) -> tuple[str, ...]:
    """The words of a Literal."""
    return tuple(part.get("enum") or ([part["const"]] if "const" in part else []))


def _limits(part: Mapping[str, Any]) -> str:
    """Type and limits, such as ``integer, at least 1, at most 1000``."""
    limits = [form.format(_number(part[key])) for key, form in _LIMITS.items() if key in part]
    return ", ".join([_TYPES.get(_type(part), _type(part)), *limits])


def _number(limit: float) -> str:
    """A limit; a large power of two as one."""
    power = int(limit).bit_length() - 1
    return f"2^{power}" if power > 30 and limit == 2**power else str(limit)


def _shown(default: object) -> str:
    """A default in the form in which it could be given; empty for none."""
    if default is None or default == ():
        return ""
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"{default:g}" if isinstance(default, float) else str(default)
