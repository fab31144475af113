"""What a plan checks and adds where concepts are edited, or several are erased at once."""

from dataclasses import replace

from esdctl.erasing.concepts import Concept
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.config_checks import PLACE
from esdctl.erasing.preset import Preset, load_preset
from esdctl.erasing.several import Forms
from esdctl.erasing.training_settings import TEMPLATE
from esdctl.errors import UsageError
from esdctl.models.erased_concepts import erased_from
from esdctl.models.families.family import Family
from esdctl.models.resolve import Pipeline
from esdctl.settings.resolve import Resolved

RIDGE_ENOUGH = 0.1  # of an edit that keeps by nothing else: tests/measurements/README.md


def check_warm_start(config: TrainConfig, concept: Concept, family: Family) -> None:
    """Refuse an edit that a model has no place for, or that keeps nothing.

    Raises:
        UsageError: it is one.
    """
    if config.warm_start and family.denoiser.groups:
        raise UsageError(
            "the closed-form edit is one of cross-attention's keys and values, and "
            f"{family.title} has no cross-attention",
            "train in steps alone: leave --warm-start and --method edit out",
        )
    is_kept = bool(concept.retained or config.corpus)
    if config.warm_start and not is_kept and (config.ridge or RIDGE_ENOUGH) < RIDGE_ENOUGH:
        raise UsageError(
            "an edit without anything to keep takes half of all other concepts with it",
            f"leave --ridge at {RIDGE_ENOUGH} or more, or add --corpus, --retain-all or --retain",
        )


def forms_of(resolved: Resolved[TrainConfig], preset: Preset) -> Forms:
    """A template -> the preset's prompts for it, where nobody named any."""
    if not resolved.origins["prompt"].startswith("preset"):
        return lambda template: None
    return lambda template: load_preset(preset.name, template, False).values.get("prompt")


def with_earlier(concept: Concept, config: TrainConfig, pipeline: Pipeline) -> Concept:
    """What was erased from the model before is kept as it is now, so that it stays gone.

    But for names that begin with those that are erased now: the tokens of "Van Gogh" in "Van Gogh
    Starry" are the very tokens that are to go.
    """
    if not config.warm_start or pipeline.delta is None:
        return concept
    now = [_words(part.name) for part in concept.each]
    earlier = [name for name in erased_from(pipeline) if name != concept.name]
    gone = [
        name.replace("_", " ")
        for name in earlier
        if not any(_words(name)[: len(words)] == words for words in now)
    ]
    forms = [form for form in config.prompt if PLACE in form] or [TEMPLATE]
    prompts = [form.replace(PLACE, name) for name in gone for form in forms]
    return replace(concept, retained=tuple(dict.fromkeys((*concept.retained, *prompts))))


def _words(name: str) -> list[str]:
    return name.replace("_", " ").casefold().split()


def check_several(config: TrainConfig, concept: Concept) -> None:
    for name in ("until", "harden"):
        if concept.parts and getattr(config, name):
            raise UsageError(
                f"{name} measures one concept, and {len(concept.parts)} are erased at once",
                "leave it out, and see UA of each: esdctl evaluate --model RUN",
            )
