"""The architecture of a model: the config of each part, as a pipeline folder says it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from esdctl.checkpoints.layouts.config_limits import (
    check_config,
    check_size_conditions,
    check_widths,
)
from esdctl.checkpoints.layouts.config_values import (
    check_part_config,
    check_scheduler,
    check_whole_scheduler,
)
from esdctl.checkpoints.layouts.pipeline_index import check_index, is_left_out, read_index
from esdctl.errors import InputError, UsageError
from esdctl.models.families.family import Config, Family, Part, TextEncoder
from esdctl.models.families.registry import (
    denoiser_parts,
    family_named,
    family_of_denoiser,
    titles,
)
from esdctl.settings.prediction import PREDICTION_TYPES, PredictionType

FORMAT = "esdctl-checkpoint-1"
_PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Architecture:
    """A model without its weights.

    Args:
        family: what it is built like; sizes may differ.
        prediction_type: what the denoiser predicts.
        configs: of each part that the model has, in the family's order, as in diffusers' and
            transformers' config.json.
        scheduler: as in scheduler_config.json.
        notes: what was assumed; for the user.
    """

    family: Family
    prediction_type: PredictionType
    configs: Mapping[Part, Config]
    scheduler: Config
    notes: tuple[str, ...] = field(default=(), compare=False)

    def config(self, part: Part) -> Config:
        """The config.json of a part that the model has."""
        return self.configs[part]

    @property
    def denoiser(self) -> Config:
        """The config.json of the network that is trained."""
        return self.configs[self.family.denoiser.part]

    @property
    def vae(self) -> Config:
        """The VAE's config.json."""
        return self.configs["vae"]

    @property
    def encoders(self) -> tuple[TextEncoder, ...]:
        """The text encoders that the model has, in the family's order."""
        return tuple(each for each in self.family.encoders if each.part in self.configs)

    @property
    def noise(self) -> Config:
        """The scheduler's config, with the family's own values where it is silent."""
        own = {**self.scheduler, "prediction_type": self.prediction_type}
        return {**self.family.process.scheduler, **own}

    def document(self) -> dict[str, object]:
        """As a JSON document; ``architecture_from_document`` reads it."""
        return {
            "family": self.family.name,
            "prediction_type": self.prediction_type,
            **{str(part): config for part, config in self.configs.items()},
            "scheduler": self.scheduler,
        }


def architecture_of_folder(folder: Path, prediction_type: str | None = None) -> Architecture:
    """Read the configs of a diffusers pipeline folder.

    Args:
        folder: holds model_index.json and a folder a part.
        prediction_type: overrides the scheduler's.

    Raises:
        InputError: a config is missing, damaged, or of another kind of model.
        UsageError: there is no such prediction type.
    """
    index = read_index(folder)
    part: Part = next((each for each in denoiser_parts() if (folder / each).is_dir()), "unet")
    denoiser = part_config(folder, part)
    family = family_of_denoiser(part, denoiser)
    if family is None:
        kind = denoiser.get("addition_embed_type")
        its = f"U-Net (addition_embed_type {kind!r})" if part == "unet" else part
        raise InputError(
            f"{folder}: its {its} ({denoiser.get('_class_name')}) is of no family that this "
            "version knows",
            f"use a model of {titles()}",
        )
    if part == "unet":
        refuse_other_unets(denoiser.get("in_channels", 4), str(folder))
    notes = check_index(index, family, folder)
    scheduler = part_config(folder, "scheduler", "scheduler_config.json")
    check_whole_scheduler(family, scheduler, folder)
    prediction = _prediction_of(family, scheduler, prediction_type, folder)
    check_scheduler(family, scheduler, folder)
    says_size = "sample_size" in (family.parts[part].free or ())
    if says_size and denoiser.get("sample_size") is None and family.process.latents_side:
        side = family.process.latents_side[prediction]
        denoiser["sample_size"] = side
        notes += (f"the config of the {part} does not say sample_size; {side} is assumed",)
    configs = {
        each: denoiser if each == part else part_config(folder, each)
        for each, kind in family.parts.items()
        if not (kind.is_optional and is_left_out(index, each, folder))
    }
    return checked(Architecture(family, prediction, configs, scheduler, notes), folder)


def _prediction_of(
    family: Family, scheduler: dict[str, Any], named: str | None, folder: Path
) -> PredictionType:
    """What a folder's denoiser predicts; written into ``scheduler`` where a process has several."""
    only = family.process.prediction_type
    if only is not None:
        refuse_other_prediction(family, named, folder)
        return only
    if named is not None:
        scheduler["prediction_type"] = known_prediction_type(named, str(folder))
    scheduler.setdefault("prediction_type", "epsilon")  # as in all of diffusers' classes
    found: PredictionType = scheduler["prediction_type"]
    return found


def refuse_other_prediction(family: Family, named: str | None, source: Path) -> None:
    """Refuse a prediction type that a family of one does not have.

    Raises:
        UsageError: the user names another.
    """
    if named not in (None, family.process.prediction_type):
        raise UsageError(
            f"{source}: {family.title} predicts the velocity of a flow alone",
            "leave --prediction-type out",
        )


def architecture_from_document(document: Mapping[str, Any], source: Path) -> Architecture:
    """Read what ``Architecture.document`` gave.

    Raises:
        InputError: it is not such a document.
    """
    family = family_named(str(document.get("family")))
    parts = {part: document[part] for part in _PARTS if document.get(part) is not None}
    scheduler = document.get("scheduler")
    if (
        family is None
        or any(part not in parts for part in _needed(family))
        or any(part not in family.parts for part in parts)
        or not all(isinstance(config, dict) for config in (*parts.values(), scheduler))
    ):
        raise InputError(
            f"{source}: its esdctl architecture is damaged",
            "write the checkpoint again, or name its LDM config file with --model-config-path",
        )
    prediction = family.process.prediction_type or known_prediction_type(
        str(document.get("prediction_type")), str(source)
    )
    configs = {part: parts[part] for part in family.parts if part in parts}
    return Architecture(family, prediction, configs, scheduler)  # type: ignore[arg-type]


def _needed(family: Family) -> tuple[Part, ...]:
    """The parts that every file has: of a transformer's the others may lie elsewhere."""
    if family.one_file is not None:
        return (family.denoiser.part,)
    return tuple(part for part, kind in family.parts.items() if not kind.is_optional)


def checked(architecture: Architecture, source: Path) -> Architecture:
    """The architecture with notes for the user, if we compute all that it says.

    Raises:
        InputError: a size makes no sense, the parts do not fit together, or a config asks for
            another computation than ours.
    """
    family = architecture.family
    for part, config in architecture.configs.items():
        check_config(config, part, source)
    check_config(architecture.scheduler, "scheduler", source)
    notes = [
        note
        for part, config in architecture.configs.items()
        for note in check_part_config(family, part, config, source)
    ]
    notes += check_scheduler(family, architecture.scheduler, source)
    encoders = [architecture.config(encoder.part) for encoder in architecture.encoders]
    check_widths(architecture.denoiser, encoders, source)
    if family.has_size_conditions:
        pooled = sum(
            int(architecture.config(encoder.part).get("projection_dim", 0))
            for encoder in family.encoders
            if encoder.is_pooled
        )
        check_size_conditions(architecture.denoiser, pooled, source)
    return replace(architecture, notes=(*architecture.notes, *notes))


def known_prediction_type(name: str, source: str) -> PredictionType:
    """A prediction type by its name.

    Raises:
        UsageError: there is none of this name.
    """
    for known in PREDICTION_TYPES:
        if name == known:
            return known
    raise UsageError(
        f"{source}: no prediction type {name!r}", f"use {' or '.join(PREDICTION_TYPES)}"
    )


def part_config(folder: Path, part: str, name: str = "config.json") -> dict[str, Any]:
    """A config file of a pipeline folder, unchecked.

    Raises:
        InputError: it is missing or damaged.
    """
    path = folder / part / name
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"the model in {folder} lacks {part}/{name}", "download or unpack it again"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}", "get it again") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} is damaged: it is no JSON object", "get it again")
    return config


def refuse_other_unets(in_channels: object, source: str) -> None:
    """Refuse a U-Net that takes more than the latents.

    Raises:
        InputError: it does; says for which task it is.
    """
    other = {9: "an inpainting model", 5: "a depth-to-image model", 7: "an upscaler",
             8: "an image-editing model"}  # fmt: skip
    if isinstance(in_channels, int) and in_channels != 4:
        kind = other.get(in_channels, "another kind of model")
        raise InputError(
            f"{source} is {kind}: its U-Net takes {in_channels} channels, not 4",
            "use the text-to-image model of the same family",
        )
