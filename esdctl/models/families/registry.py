"""The families that lie in this folder, and which of them a model belongs to. Loads no torch."""

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from esdctl.models import families as folder
from esdctl.models.families.family import Config, Family, Part
from esdctl.models.families.tensor_names import TRANSFORMER_END

_FIRST = "Stable Diffusion "  # in front of most titles


@cache
def all_families() -> tuple[Family, ...]:
    """Every family, by its name: each module of this folder that assigns ``FAMILY``."""
    names = sorted(module.name for module in iter_modules(folder.__path__))
    modules = [import_module(f"{folder.__name__}.{name}") for name in names]
    return tuple(module.FAMILY for module in modules if hasattr(module, "FAMILY"))


def family_named(name: str) -> Family | None:
    """The family of a name; None where there is none."""
    return next((family for family in all_families() if family.name == name), None)


def family_of_names(names: Iterable[str]) -> Family | None:
    """The family of a checkpoint of one file, by its tensors' names; None for no known one."""
    found = list(names)
    for family in all_families():
        mark = family.checkpoint_mark
        if mark is not None and any(name.startswith(mark) for name in found):
            return family
    return None


def bare_transformer(names: Iterable[str]) -> Family | None:
    """The family of a transformer without prefix, as its makers publish it; None for no such one.

    A ControlNet has some of a transformer's blocks, but never its end.
    """
    found = set(names)
    known = (f for f in all_families() if f.one_file is not None and f.one_file.mark in found)
    return next(known, None) if TRANSFORMER_END in found else None


def family_of_denoiser(part: Part, config: Config) -> Family | None:
    """The family of a pipeline folder, by its denoiser's config.json; None for no known one."""
    alike = (each for each in all_families() if each.denoiser.part == part)
    return next((each for each in alike if each.denoiser.is_config(config)), None)


def denoiser_parts() -> tuple[Part, ...]:
    """The parts that are a denoiser in some family."""
    return tuple(dict.fromkeys(family.denoiser.part for family in all_families()))


def titles(in_one_file: bool = False) -> str:
    """What we read, for messages: ``Stable Diffusion 1.x, 2.x or XL``.

    Args:
        in_one_file: of these, what we read from a checkpoint of one file.
    """
    families = [f for f in all_families() if f.checkpoint_mark or not in_one_file]
    known = sorted(families, key=lambda family: not family.title.startswith(_FIRST))
    *first, last = (family.title.removeprefix(_FIRST) for family in known)
    return f"{_FIRST}{', '.join(first)} or {last}"
