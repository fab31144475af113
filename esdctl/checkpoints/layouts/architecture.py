"""The architecture of a model: the config of each part, as a pipeline folder says it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
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
from esdctl.checkpoints.layouts.pipeline_index import check_index, read_index
from esdctl.errors import InputError, UsageError
from esdctl.models.families.family import Config, Family, Part
from esdctl.models.families.registry import family_named, family_of_unet_config, titles
from esdctl.settings.prediction import PREDICTION_TYPES, PredictionType

FORMAT = "esdctl-checkpoint-1"
_PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Architecture:
    """A model without its weights.

    Args:
        family: what it is built like; sizes may differ.
        prediction_type: what the U-Net predicts.
        unet, vae, text_encoder, text_encoder_2: as in diffusers' and transformers' config.json;
            the second text encoder is SDXL's.
        scheduler: as in scheduler_config.json.
        notes: what was assumed; for the user.
    """

    family: Family
    prediction_type: PredictionType
    unet: Config
    vae: Config
    text_encoder: Config
    text_encoder_2: Config | None
    scheduler: Config
    notes: tuple[str, ...] = field(default=(), compare=False)

    def config(self, part: Part) -> Config:
        """The config.json of a part that the family has."""
        config: Config = getattr(self, part)
        return config

    @property
    def noise(self) -> Config:
        """The scheduler's config, with the family's own values where it is silent."""
        own = {**self.scheduler, "prediction_type": self.prediction_type}
        return {**self.family.process.scheduler, **own}

    def document(self) -> dict[str, object]:
        """As a JSON document; ``architecture_from_document`` reads it."""
        content = {each.name: getattr(self, each.name) for each in fields(self)}
        del content["notes"]
        return {**content, "family": self.family.name}


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
    unet = _config(folder, "unet")
    family = family_of_unet_config(unet)
    if family is None:
        kind = unet.get("addition_embed_type")
        raise InputError(
            f"{folder}: its U-Net (addition_embed_type {kind!r}) is of no family that this version "
            "knows",
            f"use a model of {titles()}",
        )
    refuse_other_unets(unet.get("in_channels", 4), str(folder))
    notes = check_index(index, family, folder)
    scheduler = _config(folder, "scheduler", "scheduler_config.json")
    check_whole_scheduler(scheduler, folder)
    if prediction_type is not None:
        scheduler["prediction_type"] = known_prediction_type(prediction_type, str(folder))
    scheduler.setdefault("prediction_type", "epsilon")  # as in all of diffusers' classes
    check_scheduler(family, scheduler, folder)
    if unet.get("sample_size") is None:
        unet["sample_size"] = family.process.latents_side[scheduler["prediction_type"]]
        notes += (
            f"the config of the unet does not say sample_size; {unet['sample_size']} is assumed",
        )
    texts = {encoder.part: _config(folder, encoder.part) for encoder in family.encoders}
    found = Architecture(
        family,
        scheduler["prediction_type"],
        unet,
        _config(folder, "vae"),
        texts["text_encoder"],
        texts.get("text_encoder_2"),
        scheduler,
        notes,
    )
    return checked(found, folder)


def architecture_from_document(document: Mapping[str, Any], source: Path) -> Architecture:
    """Read what ``Architecture.document`` gave.

    Raises:
        InputError: it is not such a document.
    """
    family = family_named(str(document.get("family")))
    parts = {part: document.get(part) for part in (*_PARTS, "scheduler")}
    needed = {*family.parts, "scheduler"} if family else parts.keys()
    if family is None or any(
        not isinstance(config, dict) if part in needed else config is not None
        for part, config in parts.items()
    ):
        raise InputError(
            f"{source}: its esdctl architecture is damaged",
            "write the checkpoint again, or name its LDM config file with --model-config-path",
        )
    prediction = known_prediction_type(str(document.get("prediction_type")), str(source))
    return Architecture(family, prediction, **parts)  # type: ignore[arg-type]


def checked(architecture: Architecture, source: Path) -> Architecture:
    """The architecture with notes for the user, if we compute all that it says.

    Raises:
        InputError: a size makes no sense, the parts do not fit together, or a config asks for
            another computation than ours.
    """
    family = architecture.family
    for part in (*_PARTS, "scheduler"):
        check_config(getattr(architecture, part) or {}, part, source)
    notes = [
        note
        for part in family.parts
        for note in check_part_config(family, part, architecture.config(part), source)
    ]
    notes += check_scheduler(family, architecture.scheduler, source)
    encoders = [architecture.config(encoder.part) for encoder in family.encoders]
    check_widths(architecture.unet, encoders, source)
    if family.has_size_conditions:
        pooled = sum(
            int(architecture.config(encoder.part).get("projection_dim", 0))
            for encoder in family.encoders
            if encoder.is_pooled
        )
        check_size_conditions(architecture.unet, pooled, source)
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


def _config(folder: Path, part: str, name: str = "config.json") -> dict[str, Any]:
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
