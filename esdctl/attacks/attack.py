"""What an attack on an erasure is; each file in ``methods/`` that defines ``ATTACK`` is one."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol

from esdctl.attacks import methods
from esdctl.attacks.target import Attempt, Case, Target
from esdctl.settings.choice import one_of

QUICK, PAPER = "quick", "paper"

Settings = Mapping[str, int | float]


class Attack(Protocol):
    """A way to bring an erased concept back."""

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> str:
        """What it searches, in one line."""
        ...

    @property
    def source(self) -> str:
        """The paper that describes it."""
        ...

    @property
    def budgets(self) -> Mapping[str, Settings]:
        """``quick``, for the pocket model, and ``paper``, the source's own; both of equal keys."""
        ...

    def run(self, target: Target, cases: Sequence[Case], settings: Settings) -> Iterator[Attempt]:
        """Attack.

        What several cases share, a learned token say, is kept in ``target.folder``, where a later
        call finds it again.

        Args:
            target: the model under attack.
            cases: those that are not done yet.
            settings: one of the budgets, perhaps with some values changed.

        Yields:
            One attempt a case, as each is done.

        Raises:
            CannotAttack: the attack does not fit this model or concept.
        """
        ...


def settings_digest(target: Target, settings: Settings) -> str:
    """8 digits for a file in ``target.folder``: of settings, concept and pictures."""
    pictures = [target.side, target.steps, target.guidance]
    document = [target.concept.kind, target.concept.name, pictures, dict(settings)]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:8]


def find_attack(name: str) -> Attack:
    """An attack by its name, in any case.

    Raises:
        UsageError: there is none; says which there are.
    """
    known = _known()
    return known[one_of("--method", name, list(known))]


def attack_names() -> list[str]:
    """All attacks, by name."""
    return list(_known())


def _known() -> dict[str, Attack]:
    modules = (
        import_module(f"{methods.__name__}.{each.name}") for each in iter_modules(methods.__path__)
    )
    found: list[Attack] = [module.ATTACK for module in modules if hasattr(module, "ATTACK")]
    return {attack.name: attack for attack in sorted(found, key=lambda attack: attack.name)}
