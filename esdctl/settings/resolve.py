"""Layered settings: flag > environment > YAML file > preset > default, each with its origin."""

import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from esdctl.errors import UsageError
from esdctl.names import did_you_mean
from esdctl.settings.yaml_file import read_yaml

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Resolved(Generic[Model]):
    """The settings, and for each key where its value comes from.

    An origin is ``flag``, ``environment ESDCTL_TRAIN_LR``, ``file train.yaml``, ``preset pocket``
    or ``default``.
    """

    value: Model
    origins: dict[str, str]


def resolve(
    model_class: type[Model],
    section: str,
    flags: Mapping[str, object | None],
    environment: Mapping[str, str],
    config_file: Path | None,
    preset: Mapping[str, object] | None,
    preset_name: str = "",
    file_values: Mapping[str, object] | None = None,
) -> Resolved[Model]:
    """Resolve the settings of one section; the first layer that names a key decides.

    Args:
        model_class: the keys, their types, limits and defaults.
        section: the section's name in the environment: ``train`` reads ``ESDCTL_TRAIN_<KEY>``.
        flags: values from the command line; None means that the flag was not given.
        environment: usually ``os.environ``; an empty value counts as not set.
        config_file: a YAML mapping of keys to values.
        preset: keys and values of the chosen preset.
        preset_name: the preset's name, for the origins.
        file_values: what ``config_file`` says, when it was read already.

    Raises:
        InputError: the YAML file is missing or no mapping.
        UsageError: a key is unknown, or a value is not allowed.
    """
    if file_values is None:
        file_values = read_yaml(config_file) if config_file else {}
    layers = [  # the strongest last
        _layer(model_class, preset or {}, f"preset {preset_name}".rstrip()),
        _layer(model_class, file_values, f"file {config_file}"),
        _environment_layer(model_class, section, environment),
        _layer(model_class, {k: v for k, v in flags.items() if v is not None}, "flag"),
    ]
    values: dict[str, object] = {}
    origins = dict.fromkeys(model_class.model_fields, "default")
    for layer in layers:
        for key, (value, origin) in layer.items():
            values[key] = value
            origins[key] = origin
    try:
        return Resolved(model_class.model_validate(values), origins)
    except ValidationError as error:
        raise _usage_error(error, origins) from error


_Layer = dict[str, tuple[object, str]]  # key -> (value, origin)


def _layer(model_class: type[BaseModel], values: Mapping[str, object], origin: str) -> _Layer:
    """The values with their common origin.

    Raises:
        UsageError: a key is unknown.
    """
    known = model_class.model_fields
    for key in values:
        if key not in known:
            raise UsageError(f"{origin}: unknown key {key}", did_you_mean(key, sorted(known)))
    return {key: (value, origin) for key, value in values.items()}


def _environment_layer(
    model_class: type[BaseModel], section: str, environment: Mapping[str, str]
) -> _Layer:
    prefix = f"ESDCTL_{section.upper()}_"
    layer: _Layer = {}
    for name, text in sorted(environment.items()):
        if not name.startswith(prefix) or not text:
            continue
        key = name.removeprefix(prefix).lower()
        known = {f"{prefix}{field.upper()}": field for field in model_class.model_fields}
        if key not in known.values():
            raise UsageError(
                f"environment: unknown variable {name}", did_you_mean(name, sorted(known))
            )
        annotation = model_class.model_fields[key].annotation
        value = _split(text) if _is_sequence(annotation) else text
        layer[key] = (value, f"environment {name}")
    return layer


def _split(text: str) -> list[str]:
    """A list in one environment variable is separated by commas."""
    return [part.strip() for part in text.split(",")]


def _is_sequence(annotation: object) -> bool:
    """Whether a field's type is a list or tuple, or a union with one."""
    origin = typing.get_origin(annotation)
    if origin in (list, tuple, Sequence):
        return True
    is_nested = origin is not None and origin is not typing.Literal
    return is_nested and any(_is_sequence(part) for part in typing.get_args(annotation))


def _usage_error(error: ValidationError, origins: Mapping[str, str]) -> UsageError:
    """All findings of pydantic in one line: key, value, origin, what is allowed."""
    errors = error.errors(include_url=False)
    hints = [hint for finding in errors if (hint := _choice_hint(finding))]
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
            joined = f"{merged[key]['msg']} or {finding['msg'].removeprefix('Input should be ')}"
            merged[key] = {**merged[key], "msg": joined}
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
    return f"{key} = {finding['input']!r} ({origins[key]}): {allowed}"


def _choice_hint(finding: ErrorDetails) -> str:
    """For a value that is none of the allowed words: the nearest of them."""
    if finding["type"] not in ("literal_error", "enum"):
        return ""
    words = re.findall(r"'([^']*)'", str(finding.get("ctx", {}).get("expected", "")))
    return did_you_mean(str(finding["input"]), words, otherwise="")
