"""The options of every command that fetches, in one place: a dataclass, filled from the options."""

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Literal, get_type_hints

import typer

from esdctl.errors import UsageError

if TYPE_CHECKING:
    from esdctl.transfer.options import TransferOptions

_PARAMETER = "transfer"


@dataclass(frozen=True)
class TransferFlags:
    """What the user gave; None where nothing."""

    connections: Annotated[
        int | None, typer.Option(metavar="N", help="Requests under way at once; else 8.")
    ] = None
    limit_rate: Annotated[
        str | None, typer.Option(metavar="RATE", help="Bytes a second, such as 10M or 500k.")
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Without a byte, until a connection counts as dead."),
    ] = None
    retries: Annotated[
        int | None, typer.Option(metavar="N", help="Failures in a row before giving up; else 8.")
    ] = None
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The hub's address; else HF_ENDPOINT, else its own."),
    ] = None
    proof: Annotated[
        Literal["members", "whole"] | None,
        typer.Option(help="What of a ZIP is proved: each member's CRC32, or the whole's sha256."),
    ] = None

    def options(self) -> "TransferOptions":
        """The options: flags, then the environment (``HF_ENDPOINT``, ``HF_TOKEN``), then defaults.

        Raises:
            UsageError: a value is not allowed.
        """
        from esdctl.transfer.options import options_from_environment

        return options_from_environment(
            os.environ,
            connections=self.connections,
            limit_rate=None if self.limit_rate is None else parse_rate(self.limit_rate),
            timeout=self.timeout,
            retries=self.retries,
            endpoint=self.endpoint,
            proof=self.proof,
        )


def with_transfer_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each field of TransferFlags.

    Args:
        command: takes them as its parameter ``transfer``, and all its parameters by name.
    """
    hints = get_type_hints(TransferFlags, include_extras=True)
    shared = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hint)
        for field in fields(TransferFlags)
        for hint in (hints[field.name],)
    ]
    own = signature(command, eval_str=True).parameters.values()

    @wraps(command)
    def spread(**values: object) -> None:
        flags = {option.name: values.pop(option.name) for option in shared}
        command(**values, **{_PARAMETER: TransferFlags(**flags)})  # type: ignore[arg-type]

    kept = [option.replace(kind=Parameter.KEYWORD_ONLY) for option in own]
    kept = [option for option in kept if option.name != _PARAMETER]
    setattr(spread, "__signature__", Signature([*kept, *shared]))  # noqa: B010
    return spread


def parse_rate(text: str) -> int:
    """``10M`` or ``500k`` as bytes a second: thousands, or 1024s with ``KiB``, ``MiB``.

    Raises:
        UsageError: it is no rate.
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        return int(TypeAdapter(ByteSize).validate_python(text.removesuffix("/s")))
    except ValidationError as error:
        raise UsageError(f"--limit-rate {text} is no rate", "write 10M or 500k") from error
