"""One hostile checkpoint: its name, its bytes, and what the refusal must say."""

from dataclasses import dataclass

from esdctl.errors import EsdctlError, IntegrityError


@dataclass(frozen=True)
class CheckpointAttack:
    """A file that must be refused.

    Args:
        name: what the attacker tries, unique.
        message: a part of the error's message.
        data: the file.
        error: the error's class; InputError where the file is no lie but something else.
    """

    name: str
    message: str
    data: bytes
    error: type[EsdctlError] = IntegrityError
