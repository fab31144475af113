"""A command of esdctl: an option is given once, and ``~`` in a path is the user's home."""

import os
from collections import Counter
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typer.models import ParameterInfo

from esdctl.cli.completion import completion_of
from esdctl.cli.environment import unread_variables
from esdctl.cli.help import write_help
from esdctl.cli.terminal import reporting
from esdctl.errors import UsageError
from esdctl.storage.conversion_cache import copies_that_do_not_stay
from esdctl.storage.user_path import user_path

_PATHS = ("PATH", "FILE", "MODEL", "DELTA", "RUN")  # in the metavar of a text that may be a path
Function = TypeVar("Function", bound=Callable[..., Any])


class Command(TyperCommand):
    """Refuses a single-valued option that is given twice, and expands ``~`` in paths."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            try:
                self._refuse_repeated(ctx, args)
            except TyperException as error:
                self._raise_with_our_name(error)
                raise
        rest = super().parse_args(ctx, args)
        for parameter in self.params:
            if parameter.name in ctx.params:
                value = ctx.params[parameter.name]
                ctx.params[parameter.name] = _expanded(value, str(parameter.metavar))
        return rest

    def invoke(self, ctx: Any) -> Any:
        warn_of_unread_variables(ctx)
        if not (ctx.params.get("dry_run") or ctx.params.get("show_config")):
            return super().invoke(ctx)
        with copies_that_do_not_stay():
            return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        write_help(self, ctx, formatter)

    def _refuse_repeated(self, ctx: Any, args: list[str]) -> None:
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for parameter, times in Counter(order).items():
            takes_many = parameter.param_type_name == "argument" or getattr(
                parameter, "multiple", False
            )
            is_switch = getattr(parameter, "is_flag", False) and not parameter.secondary_opts
            if times > 1 and not takes_many and not is_switch:
                raise UsageError(
                    f"{'/'.join([*parameter.opts, *parameter.secondary_opts])} "
                    f"is given {times} times",
                    "keep one of them",
                )

    def _raise_with_our_name(self, error: TyperException) -> None:
        """For an option that other programs have by another name."""
        written = str(getattr(error, "option_name", ""))
        name = getattr(self.callback, "options_elsewhere", {}).get(written)
        if name is not None:
            raise UsageError(f"No such option: {written}", f"it is called {name} here") from error


def warn_of_unread_variables(ctx: Any) -> None:
    """Name variables of ours that nobody reads; commands do it by themselves, groups do not."""
    reads_settings = ctx.command_path == "esdctl train" and ctx.params.get("resume") is None
    with reporting(quiet=True) as reporter:
        for sentence in unread_variables(os.environ, reads_settings):
            reporter.warning(sentence)


class Group(TyperGroup):
    """A group whose help is ours."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        write_help(self, ctx, formatter)


class CommandGroup(typer.Typer):
    """A group whose commands are of the class above; its help is theirs."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"cls": Group, "rich_markup_mode": None, **options})

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        register = super().command(name, **{"cls": Command, **options})

        def with_completion(function: Function) -> Function:
            _offer_completions(function)
            return register(function)

        return with_completion


def _offer_completions(function: Callable[..., Any]) -> None:
    """Tell each option and argument that has none what a shell may offer for it."""
    for parameter in signature(function, eval_str=True).parameters.values():
        for option in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(option, ParameterInfo) and option.autocompletion is None:
                option.autocompletion = completion_of(function.__name__, parameter.name)


def _expanded(value: object, metavar: str) -> object:
    """A path, or a text that may be one, with ``~`` expanded."""
    if isinstance(value, Path):
        return user_path(value)
    if isinstance(value, str) and value.startswith("~") and any(word in metavar for word in _PATHS):
        return str(user_path(Path(value)))
    if isinstance(value, list | tuple):
        return type(value)(_expanded(part, metavar) for part in value)
    return value
