"""Several concepts erased at once: repeated, or listed in a file. Loads no torch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from pydantic import ValidationError

from esdctl.erasing.concept_file import Row, read_concepts
from esdctl.erasing.concepts import Catalogue, Concept, describe_concept, kind_of
from esdctl.erasing.config import TrainConfig
from esdctl.errors import UsageError
from esdctl.settings.resolve import Layer

MOST_FORMS = 60  # prompts of a concept that the others are brought up to
NAMED = 3  # names in that of all together

Forms = Callable[[str], object]  # template -> its prompts, or None for those of the settings


def with_several(layers: Sequence[Layer]) -> list[Layer]:
    """The layers with ``concept`` as one name, and those beyond the first as ``also``."""
    return [_one_name(layer) for layer in layers]


def _one_name(layer: Layer) -> Layer:
    names = layer.values.get("concept")
    if not isinstance(names, list | tuple):
        return layer
    values = {**layer.values, "concept": names[0] if names else None}
    if names[1:]:
        values["also"] = [*names[1:], *_listed(layer.values.get("also"))]
    return Layer(layer.origin, values)


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else [value] if value else []


def describe_concepts(
    config: TrainConfig,
    catalogue: Catalogue,
    is_spelt_out: bool,
    forms: Forms = lambda template: None,
) -> Concept:
    """All that is erased, as one concept with parts where it is several.

    Args:
        config: names the concepts; template, prompts and erase-from are those of all that have
            none of their own.
        catalogue: the names that the model knows.
        is_spelt_out: whether a prompt says what an unknown concept is.
        forms: a template's prompts, where they are not the settings'.

    Raises:
        UsageError: a concept is unknown and not spelt out, is named twice or retained as well, or
            only some are erased from another prompt.
        InputError: the file of concepts is missing or no such file.
    """
    rows: list[Row] = [{"name": name} for name in (config.concept, *config.also) if name]
    if config.concepts is not None:
        rows += read_concepts(config.concepts)
    if config.concepts is None and len(rows) < 2:
        return describe_concept(config, catalogue, is_spelt_out)
    parts = [_part(config, row, catalogue, is_spelt_out, forms) for row in rows]
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{twice} is erased twice", "name each concept once")
    if len({part.erase_from is None for part in parts}) > 1:
        without = next(part.name for part in parts if part.erase_from is None)
        raise UsageError(
            f"{without} is erased from no other prompt, and others are",
            "give erase_from for all of them, or for none",
        )
    return _together(parts)


def _part(
    config: TrainConfig, row: Row, catalogue: Catalogue, is_spelt_out: bool, forms: Forms
) -> Concept:
    """One of several, described as if it were alone."""
    own: dict[str, object] = {"concept": row["name"], "also": (), "concepts": None}
    template = row.get("template") or kind_of(row["name"]) or config.template or "object"
    own["template"] = template
    prompts = (row["prompt"],) if "prompt" in row else forms(template)
    if prompts is not None:
        own["prompt"] = prompts
    if "erase_from" in row:
        own["erase_from"] = row["erase_from"]
    try:
        alone = TrainConfig.model_validate({**config.model_dump(), **own})
    except ValidationError as error:
        fault = error.errors()[0]
        raise UsageError(f"{row['name']}: {fault['loc'][0]}: {fault['msg']}") from error
    return describe_concept(alone, catalogue, is_spelt_out or "prompt" in row)


def _together(parts: Sequence[Concept]) -> Concept:
    """Each concept as many prompts, so that a draw is as likely to be of any of them."""
    count = math.lcm(*{len(part.prompts) for part in parts})
    if count > MOST_FORMS:
        count = max(len(part.prompts) for part in parts)
    prompts, sources = [], []
    for part in parts:
        prompts += [part.prompts[i % len(part.prompts)] for i in range(count)]
        sources += [part.erase_from] * count
    gone = {form for part in parts for form in part.prompts}
    retained = [text for text in parts[0].retained if text not in gone]
    for part in parts[1:]:
        kept = set(part.retained)
        retained = [text for text in retained if text in kept]
    names = [part.name for part in parts]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    is_same = len(set(sources)) == 1
    return replace(
        parts[0],
        name=", ".join(names[:NAMED]) + more,
        prompts=tuple(prompts),
        erase_from=sources[0] if is_same else None,
        retained=tuple(retained),
        parts=tuple(replace(part, retained=()) for part in parts),
        sources=() if is_same else tuple(str(source) for source in sources),
    )
