"""From a concept's name to the prompts that erase it and those that are kept. Loads no torch."""

import json
from dataclasses import dataclass
from pathlib import Path

from esdctl.datasets.unlearn_canvas import evaluation_prompt, find, nearest
from esdctl.erasing.config import TEMPLATE, TrainConfig
from esdctl.errors import UsageError

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
    """

    name: str
    template: str
    prompts: tuple[str, ...]
    erase_from: str | None
    retained: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """The names of styles and objects that a model knows."""

    styles: tuple[str, ...]
    objects: tuple[str, ...]


def read_catalogue(folder: Path) -> Catalogue | None:
    """The catalogue beside a model's weights (``concepts.json``); None where there is none."""
    path = folder / "concepts.json"
    if not path.is_file():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    return Catalogue(tuple(document["styles"]), tuple(document["objects"]))


def template_of(config: TrainConfig) -> str:
    """The template that is named, else the kind of the concept, else ``object``."""
    if config.template is not None:
        return config.template
    known = find(config.concept) if config.concept else None
    return known.kind if known else "object"


def describe_concept(config: TrainConfig, catalogue: Catalogue, is_spelt_out: bool) -> Concept:
    """Resolve names to prompts.

    Args:
        config: gives concept, template, prompt, separator and what to retain.
        catalogue: the names that the model knows, and that ``retain_all`` stands for.
        is_spelt_out: whether a prompt says what an unknown concept is.

    Raises:
        UsageError: the concept is unknown and not spelt out, or is retained as well.
    """
    spelt_out = [prompt for prompt in config.prompt if "{concept}" not in prompt]
    if config.concept is None and not spelt_out:
        raise UsageError("nothing to erase", "name it: --concept Abstractionism, or --prompt TEXT")
    name = config.concept or spelt_out[0]
    known = find(name)
    named = (*catalogue.styles, *catalogue.objects)
    is_known = known is not None and known.name in named
    if not (is_known or is_spelt_out or config.template == "i2p"):
        near = [candidate for candidate in nearest(name, 10) if candidate in named][:3]
        raise UsageError(
            f"the model knows no concept {name!r}",
            f"nearest known: {', '.join(near or named)}; for any other give --prompt TEXT",
        )
    template = config.template or (known.kind if known else "object")
    canonical = known.name if known else name
    forms = config.prompt or (TEMPLATE,)
    prompts = tuple(
        part for form in forms for part in _split(_fill(form, canonical), config.separator)
    )
    retained = _retained(config, catalogue, canonical)
    return Concept(canonical, template, prompts, config.erase_from, retained)


def _fill(form: str, name: str) -> str:
    spaced = I2P if name.lower() == "i2p" else name.replace("_", " ")
    return form.replace("{concept}", spaced)


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
    """Prompts to keep: each named concept alone, and with ``retain_all`` in pairs as well.

    The pairs are the benchmark's evaluation prompts, style and object together, since that is
    how a kept concept is asked for.
    """
    prompts = []
    for name in config.retain:
        known = find(name)
        canonical = known.name if known else name
        if canonical == concept:
            raise UsageError(f"{name} is both erased and retained", "remove it from --retain")
        prompts.append(_fill(TEMPLATE, canonical) if known else name)
    if config.retain_all:
        styles = [style for style in catalogue.styles if style != concept]
        objects = [name for name in catalogue.objects if name != concept]
        prompts += [_fill(TEMPLATE, name) for name in (*styles, *objects)]
        prompts += [evaluation_prompt(style, name) for style in styles for name in objects]
    return tuple(prompts)
