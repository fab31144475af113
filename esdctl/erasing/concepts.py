"""From a concept's name to the prompts that erase it and those that are kept. Loads no torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from esdctl.datasets.i2p import CATEGORIES, find_category
from esdctl.datasets.unlearn_canvas import (
    LATER_STYLES,
    OBJECTS,
    STYLES,
    evaluation_prompt,
    find,
    nearest,
)
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.config_checks import PLACE
from esdctl.erasing.training_settings import TEMPLATE
from esdctl.errors import UsageError
from esdctl.names import did_you_mean
from esdctl.names import nearest as closest

NUDITY = "nudity"
ALL_OF_I2P = "i2p"
UNSAFE = (*(name.replace(" ", "_") for name in CATEGORIES), NUDITY)
I2P = (
    "hate, harassment, violence, suffering, humiliation, harm, suicide, sexual, nudity, "
    "bodily fluids, blood"
)


@dataclass(frozen=True)
class Concept:
    """What is erased, and what is kept.

    Args:
        name: canonical, with underscores where it has spaces.
        template: ``style``, ``object`` or ``i2p``.
        prompts: one is drawn at each step.
        erase_from: the prompt the concept is erased from, or None for the concept's own.
        retained: prompts whose predictions are kept; one is drawn at each step.
        parts: where several are erased at once, each as if it were alone; then ``prompts`` are
            those of all, as many of each.
        sources: what each of ``prompts`` is erased from, where they are not erased from one.
    """

    name: str
    template: str
    prompts: tuple[str, ...]
    erase_from: str | None
    retained: tuple[str, ...]
    parts: tuple["Concept", ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def each(self) -> tuple["Concept", ...]:
        """Every concept that is erased."""
        return self.parts or (self,)


@dataclass(frozen=True)
class Catalogue:
    """The names of styles and objects that a model knows.

    Args:
        styles, objects: UnlearnCanvas's names.
        knows_unsafe: whether it also draws what I2P's categories name, as full-size models do.
    """

    styles: tuple[str, ...]
    objects: tuple[str, ...]
    knows_unsafe: bool = False


FULL_SIZE = Catalogue(STYLES, OBJECTS, knows_unsafe=True)
# Names that some model knows, for a check before any is opened.
EVERY_NAME = Catalogue((*STYLES, *LATER_STYLES), OBJECTS, knows_unsafe=True)


def read_catalogue(folder: Path) -> Catalogue | None:
    """The catalogue beside a model's weights (``concepts.json``); None where there is none."""
    path = folder / "concepts.json"
    if not path.is_file():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    return Catalogue(tuple(document["styles"]), tuple(document["objects"]))


def template_of(config: TrainConfig) -> str:
    """The template that is named, else the kind of the concept, else ``object``."""
    return config.template or (config.concept and kind_of(config.concept)) or "object"


def kind_of(concept: str) -> str | None:
    """The template that suits a concept, ``style``, ``object`` or ``i2p``; None if unknown."""
    known = find(concept)
    if known is not None:
        return known.kind
    return "i2p" if find_unsafe(concept) else None


def find_unsafe(name: str) -> str | None:
    """The unsafe concept that a name means, with underscores; None for any other name."""
    if name.casefold() in (NUDITY, ALL_OF_I2P):
        return name.casefold()
    category = find_category(name)
    return category and category.replace(" ", "_")


def describe_concept(config: TrainConfig, catalogue: Catalogue, is_spelt_out: bool) -> Concept:
    """Resolve names to prompts.

    Args:
        config: gives concept, template, prompt, separator and what to retain.
        catalogue: the names that the model knows, and that ``retain_all`` stands for.
        is_spelt_out: whether a prompt says what an unknown concept is.

    Raises:
        UsageError: the concept is unknown and not spelt out, or is retained as well.
    """
    spelt_out = [prompt for prompt in config.prompt if PLACE not in prompt]
    if config.concept is None and not spelt_out:
        raise UsageError("nothing to erase", "name it: --concept Abstractionism, or --prompt TEXT")
    name = config.concept or spelt_out[0]
    template = template_of(config)
    if not is_spelt_out:
        _check_known(name, catalogue)
    known = find(name)
    canonical = known.name if known else find_unsafe(name) or name
    forms = config.prompt or (PLACE if template == "i2p" else TEMPLATE,)
    prompts = tuple(
        part for form in forms for part in _split(_fill(form, canonical), config.separator)
    )
    retained = _retained(config, catalogue, canonical)
    return Concept(canonical, template, prompts, config.erase_from, retained)


def _check_known(name: str, catalogue: Catalogue) -> None:
    """Refuse a name that means nothing to the model.

    Raises:
        UsageError: the nearest names, or what else to do.
    """
    known, unsafe = find(name), find_unsafe(name)
    named = (*catalogue.styles, *catalogue.objects)
    if unsafe and catalogue.knows_unsafe:
        return
    if known is not None and known.name in named:
        return
    if unsafe:
        raise UsageError(
            f"the model knows no concept {name!r}",
            "a full-size model does: --model compvis, or the path of another",
        )
    names = (*named, *UNSAFE) if catalogue.knows_unsafe else named
    near = [found for found in nearest(name, 10) if found in named] or closest(name, names)
    others = ", ".join(near[:3]) or f"{', '.join(names[:8])} and {len(names) - 8} more"
    raise UsageError(
        f"the model knows no concept {name!r}",
        f"nearest known: {others}; for any other give --prompt TEXT",
    )


def split_retained(names: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """Read ``Cats,Birds`` as two concepts where each part is one; say so.

    Returns:
        What to keep, and notices.

    Raises:
        UsageError: some parts are known, and another one looks like a misspelt one.
    """
    kept: list[str] = []
    notices = []
    for name in names:
        parts = [part.strip() for part in name.split(",")]
        unknown = [part for part in parts if find(part) is None]
        if len(parts) > 1 and len(unknown) < len(parts):
            for part in unknown:
                if nearest(part) or not part:
                    raise UsageError(
                        f"--retain {name!r}: no concept is called {part!r}",
                        did_you_mean(part, (*STYLES, *OBJECTS), otherwise="one --retain for each"),
                    )
        if len(parts) > 1 and not unknown:
            notices.append(f"--retain {name} is read as {len(parts)} concepts: {', '.join(parts)}")
            kept += parts
        else:
            kept.append(name)
    return tuple(kept), notices


def _fill(form: str, name: str) -> str:
    spaced = I2P if name.lower() == ALL_OF_I2P else name.replace("_", " ")
    return form.replace(PLACE, spaced)


def _split(prompt: str, separator: str | None) -> list[str]:
    """The prompt's parts at the separator, each stripped; the whole prompt without one."""
    if separator is None:
        return [prompt]
    parts = [part.strip() for part in prompt.split(separator)]
    if not all(parts):
        raise UsageError(
            f"the prompt {prompt!r} has an empty part at separator {separator!r}",
            "remove the extra separator",
        )
    return parts


def _retained(config: TrainConfig, catalogue: Catalogue, concept: str) -> tuple[str, ...]:
    """Prompts to keep: each concept alone, and each style with each object.

    The pairs are the benchmark's evaluation prompts, style and object together, since that is
    how a kept concept is asked for.
    """
    prompts: list[str] = []
    styles: list[str] = []
    objects: list[str] = []
    for name in config.retain:
        known = find(name)
        canonical = known.name if known else name
        if canonical == concept:
            raise UsageError(f"{name} is both erased and retained", "remove it from --retain")
        prompts.append(_fill(TEMPLATE, canonical) if known else name)
        if known is not None:
            (styles if known.kind == "style" else objects).append(canonical)
    if config.retain_all:
        styles = [style for style in catalogue.styles if style != concept]
        objects = [name for name in catalogue.objects if name != concept]
        prompts += [_fill(TEMPLATE, name) for name in (*styles, *objects)]
    prompts += [evaluation_prompt(style, name) for style in styles for name in objects]
    return tuple(prompts)
