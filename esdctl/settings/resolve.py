"""Layered settings: flag > environment > YAML file > preset > default, each with its origin."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from esdctl.errors import UsageError
from esdctl.names import did_you_mean
from esdctl.settings.setting import Field, fields_of, names_elsewhere, unknown_key_hint

Model = TypeVar("Model", bound=BaseModel)
_LONGEST = 100  # characters of a value that an error shows


@dataclass(frozen=True)
class Layer:
    """Settings that come from one place.

    Args:
        origin: such as ``flag``, ``file train.yaml`` or ``preset pocket``.
        values: keys and values; None is a value.
    """

    origin: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class Resolved(Generic[Model]):
    """The settings, and for each key where its value comes from.

    An origin is that of a layer, or ``default``.
    """

    value: Model
    origins: dict[str, str]


def resolve(model_class: type[Model], layers: Sequence[Layer]) -> Resolved[Model]:
    """Resolve the settings; the last layer that names a key decides.

    Args:
        model_class: the keys, their types, limits and defaults.
        layers: the strongest last.

    Raises:
        UsageError: a key is unknown, or a value is not allowed.
    """
    values: dict[str, object] = {}
    origins = dict.fromkeys(model_class.model_fields, "default")
    for layer in layers:
        for key, value in layer.values.items():
            if key not in origins:
                hint = unknown_key_hint(key, model_class)
                raise UsageError(f"{layer.origin}: unknown key {key}", hint)
            values[key] = value
            origins[key] = layer.origin
    try:
        return Resolved(model_class.model_validate(values), origins)
    except ValidationError as error:
        raise _usage_error(error, origins) from error


def read_environment(
    model_class: type[BaseModel], section: str, environment: Mapping[str, str]
) -> list[Layer]:
    """A layer for each variable of a section: ``ESDCTL_TRAIN_LR`` of ``train``.

    A list in one variable is separated by commas; an empty variable counts as not set.

    Raises:
        UsageError: a variable of the section is none of its settings.
    """
    known = variables_of(model_class, section)
    layers = []
    for name, text in sorted(environment.items()):
        if not name.startswith(_prefix(section)) or not text:
            continue
        if name not in known:
            hint = unknown_variable_hint(name, model_class, section)
            raise UsageError(f"environment: unknown variable {name}", hint)
        field = known[name]
        value = [part.strip() for part in text.split(",")] if field.kind == "list" else text
        layers.append(Layer(f"environment {name}", {field.name: value}))
    return layers


def variables_of(model_class: type[BaseModel], section: str) -> dict[str, Field]:
    """The variable of each setting: ``ESDCTL_TRAIN_LR`` of ``lr`` in ``train``."""
    prefix = _prefix(section)
    return {f"{prefix}{key.upper()}": field for key, field in fields_of(model_class).items()}


def unknown_variable_hint(
    name: str, model_class: type[BaseModel], section: str, others: Sequence[str] = ()
) -> str:
    """What somebody may have meant who set a variable that is none of the section's.

    Args:
        name: as it is set.
        model_class: its fields are the settings.
        section: the command that reads them.
        others: more variables that are read.
    """
    prefix = _prefix(section)
    key = names_elsewhere(model_class).get(name.removeprefix(prefix).lower())
    if key is not None:
        return f"it is called {prefix}{key.upper()} here"
    return did_you_mean(name, [*variables_of(model_class, section), *others])


def _prefix(section: str) -> str:
    return f"ESDCTL_{section.upper()}_"


def _usage_error(error: ValidationError, origins: Mapping[str, str]) -> UsageError:
    """All findings of pydantic in one line: key, value, origin, what is allowed."""
    errors = error.errors(include_url=False)
    hints = [hint for finding in errors if (hint := _hint(finding))]
    findings = _one_a_key(errors)
    return UsageError("; ".join(_describe(finding, origins) for finding in findings), *hints[:1])


def _one_a_key(findings: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """The findings, where a value that fits no part of a union is one: ``4 or 'auto'``."""
    merged: dict[object, ErrorDetails] = {}
    for finding in findings:
        key = finding["loc"][:1] or len(merged)
        if key not in merged or len(finding["loc"]) < 2:
            merged[key] = finding
        else:
            more = finding["msg"].removeprefix("Input should be ")
            if more not in merged[key]["msg"]:
                merged[key] = {**merged[key], "msg": f"{merged[key]['msg']} or {more}"}
    return list(merged.values())


def _describe(finding: ErrorDetails, origins: Mapping[str, str]) -> str:
    allowed = finding["msg"].removeprefix("Value error, ")
    allowed = allowed.replace("Input should be", "must be")
    allowed = allowed[:1].lower() + allowed[1:]
    if not finding["loc"]:
        return allowed
    key = str(finding["loc"][0])
    if finding["type"] == "missing":
        return f"{key} is missing"
    return f"{key} = {_cut(repr(finding['input']))} ({origins[key]}): {allowed}"


def _cut(value: str) -> str:
    """A value as it was written, its beginning alone where it is long: it may be a whole file."""
    return value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."


def _hint(finding: ErrorDetails) -> str:
    """For a value that is none of the allowed words the nearest of them; for no text, quotes."""
    if finding["type"] == "string_type" and isinstance(finding["input"], int | float):
        return "write it in quotes, as a text"
    if finding["type"] not in ("literal_error", "enum"):
        return ""
    words = re.findall(r"'([^']*)'", str(finding.get("ctx", {}).get("expected", "")))
    return did_you_mean(str(finding["input"]), words, otherwise="")
