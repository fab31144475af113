"""The options of a command, made of a model's settings: one for each field."""

import functools
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from esdctl.cli.completion import one_of
from esdctl.settings.setting import Field, fields_of, names_elsewhere

Command = Callable[..., None]


def with_settings(
    model: type[BaseModel], only: Collection[str] | None = None, hidden: Iterable[str] = ()
) -> Callable[[Command], Command]:
    """Give a command an option for each setting.

    The command's own parameter ``settings`` gets those that were given: key -> text, several texts,
    or a boolean. Their types and limits are the model's to check. Those who write an option as
    another program calls it are told its name.

    Args:
        model: its fields are the settings.
        only: these settings; None for all.
        hidden: more keys, whose options are not in the help.
    """

    def decorate(command: Command) -> Command:
        fields = [f for f in fields_of(model).values() if only is None or f.name in only]
        options = [_option(field) for field in fields] + [_hidden_option(name) for name in hidden]
        own = [p for p in _parameters(command) if p.name != "settings"]

        @functools.wraps(command)
        def call(**given: Any) -> None:
            settings = {option.name: given.pop(option.name) for option in options}
            command(**given, settings={k: _one(v) for k, v in settings.items() if v is not None})

        parameters = sorted([*options, *own], key=_is_below_a_heading)  # stable
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        call.options_elsewhere = {  # type: ignore[attr-defined]
            _flag(other): _flag(name) for other, name in names_elsewhere(model).items()
        }
        return call

    return decorate


def _one(value: object) -> object:
    """A list of one is what it holds."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def setting_option(model: type[BaseModel], name: str) -> Any:
    """The option of one setting, for a command that has it without being made of the model."""
    return _info(fields_of(model)[name])


def _parameters(command: Command) -> Iterable[inspect.Parameter]:
    signature = inspect.signature(command, eval_str=True)
    return [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()]


def _is_below_a_heading(parameter: inspect.Parameter) -> bool:
    metadata = getattr(parameter.annotation, "__metadata__", ())
    return any(getattr(option, "rich_help_panel", None) for option in metadata)


def _option(field: Field) -> inspect.Parameter:
    types: dict[str, Any] = {"flag": bool | None, "list": list[str] | None, "value": str | None}
    kind = "list" if field.setting.is_repeatable else field.kind
    return _parameter(field.name, Annotated[types[kind], _info(field)])


def _info(field: Field) -> Any:
    flag = _flag(field.name)
    is_flag = field.kind == "flag"
    spellings = [f"{flag}/--no-{flag[2:]}"] if is_flag else [flag, *field.setting.flags]
    return typer.Option(
        *spellings,
        help=_help(field),
        metavar=None if is_flag else field.metavar,
        rich_help_panel=field.setting.panel or None,
        autocompletion=one_of(field.choices) if field.choices else None,
    )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _hidden_option(name: str) -> inspect.Parameter:
    return _parameter(name, Annotated[str | None, typer.Option(hidden=True)])


def _parameter(name: str, annotation: object) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=None, annotation=annotation)


def _help(field: Field) -> str:
    """What it is, the words that are allowed where the form does not list them, the default."""
    parts = [field.setting.help]
    if field.choices and field.setting.metavar:
        parts.append(f"One of {', '.join(field.choices)}.")
    if field.default:
        parts.append(f"[default: {field.default}]")
    return " ".join(parts)
