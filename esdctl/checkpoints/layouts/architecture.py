"""The architecture of a Stable Diffusion: the config of each part, from a folder or from shapes.

What decides, first to last: the user's prediction type; the user's LDM config file; the
architecture that esdctl wrote beside the weights; ``NAME.yaml`` beside ``NAME.ckpt``; the shapes of
the tensors and the family's convention (8 heads in SD 1.x, 64 channels a head in 2.x and XL).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from esdctl.checkpoints.layouts.config_limits import check_config, check_widths
from esdctl.checkpoints.layouts.ldm_config import LdmConfig, read_ldm_config
from esdctl.checkpoints.layouts.part_shapes import (
    Shapes,
    family_of,
    text_config,
    unet_config,
    vae_config,
)
from esdctl.checkpoints.safetensors.metadata import METADATA_KEY
from esdctl.errors import InputError, UsageError
from esdctl.models.families.family import Config, Family, Part
from esdctl.models.families.registry import all_families, family_of_unet_config, titles
from esdctl.models.families.tensor_names import V_PREDICTION_MARK
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
    unet = _config(folder, "unet")
    family = family_of_unet_config(unet)
    if family is None:
        raise InputError(
            f"{folder}: its U-Net is of no family that this version knows", f"use {titles()}"
        )
    _refuse_other_unets(unet.get("in_channels", 4), str(folder))
    text_encoder = _config(folder, "text_encoder")
    if not str(text_encoder.get("model_type", "clip_text_model")).startswith("clip"):
        raise InputError(
            f"{folder}: the text encoder is a {text_encoder['model_type']}, not CLIP",
            f"use a model of {titles()}",
        )
    scheduler = _config(folder, "scheduler", "scheduler_config.json")
    prediction = _known_prediction_type(
        prediction_type or str(scheduler.get("prediction_type", "epsilon")), str(folder)
    )
    found = Architecture(
        family,
        prediction,
        unet,
        _config(folder, "vae"),
        text_encoder,
        _config(folder, "text_encoder_2") if "text_encoder_2" in family.parts else None,
        {**scheduler, "prediction_type": prediction},
    )
    return _checked(found, folder)


def architecture_of_compvis(
    infos: Shapes,
    metadata: Mapping[str, str],
    source: Path,
    model_config: Path | None = None,
    prediction_type: str | None = None,
) -> Architecture:
    """Tell the architecture of a CompVis checkpoint.

    Args:
        infos: its tensors' shapes, under CompVis names.
        metadata: of the file; ``esdctl`` and ``global_step`` are understood.
        source: the file; for messages, and for the ``NAME.yaml`` beside it.
        model_config: an LDM config file that the user names.
        prediction_type: ``epsilon`` or ``v_prediction``, if the user names it.

    Raises:
        InputError: the tensors are no Stable Diffusion's, or the config file contradicts them.
        UsageError: there is no such prediction type.
    """
    beside = source.with_suffix(".yaml")
    file = model_config or (beside if beside.is_file() else None)
    ldm = read_ldm_config(file) if file is not None else LdmConfig()
    document = _own_document(metadata, source)
    if model_config is not None or document is None:
        document = ldm.esdctl
    if document is not None:
        known = architecture_from_document(document, source)
    else:
        known = _from_shapes(infos, metadata, source, ldm)
    _checked(known, source)
    if prediction_type is None:
        return known
    return _predicting(known, _known_prediction_type(prediction_type, str(source)))


def architecture_from_document(document: Mapping[str, Any], source: Path) -> Architecture:
    """Read what ``Architecture.document`` gave.

    Raises:
        InputError: it is not such a document.
    """
    known = {family.name: family for family in all_families()}
    family = known.get(str(document.get("family")))
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
    prediction = _known_prediction_type(str(document.get("prediction_type")), str(source))
    return Architecture(family, prediction, **parts)  # type: ignore[arg-type]


def _checked(architecture: Architecture, source: Path) -> Architecture:
    """The architecture itself, if every part's sizes make sense and they fit together."""
    for part in (*_PARTS, "scheduler"):
        check_config(getattr(architecture, part) or {}, part, source)
    encoders = [architecture.config(encoder.part) for encoder in architecture.family.encoders]
    check_widths(architecture.unet, encoders, source)
    return architecture


def _from_shapes(
    infos: Shapes, metadata: Mapping[str, str], source: Path, ldm: LdmConfig
) -> Architecture:
    family = family_of(infos, source)
    unet = unet_config(infos, source, family, ldm)
    _refuse_other_unets(unet["in_channels"], str(source))
    ldm.compare(unet, source)
    prediction, notes = _assumed_prediction(family, infos, metadata, ldm)
    texts = {
        encoder.part: text_config(infos, source, family, encoder) for encoder in family.encoders
    }
    unet["sample_size"] = family.process.latents_side[prediction]
    vae = vae_config(infos, source, family, ldm.scale_factor)
    vae["sample_size"] = unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)
    scheduler = {**family.process.scheduler, **ldm.noise, "prediction_type": prediction}
    return Architecture(
        family,
        prediction,
        unet,
        vae,
        texts["text_encoder"],
        texts.get("text_encoder_2"),
        scheduler,
        notes,
    )


def _assumed_prediction(
    family: Family, infos: Shapes, metadata: Mapping[str, str], ldm: LdmConfig
) -> tuple[PredictionType, tuple[str, ...]]:
    """The prediction type that the user did not name, and what to tell the user of a guess."""
    if ldm.prediction_type is not None:
        return _known_prediction_type(ldm.prediction_type, "the LDM config file"), ()
    if V_PREDICTION_MARK in infos:
        return "v_prediction", ()
    return family.process.prediction(metadata)


def _predicting(known: Architecture, prediction: PredictionType) -> Architecture:
    scheduler = {**known.scheduler, "prediction_type": prediction}
    return replace(known, prediction_type=prediction, scheduler=scheduler, notes=())


def _known_prediction_type(name: str, source: str) -> PredictionType:
    for known in PREDICTION_TYPES:
        if name == known:
            return known
    raise UsageError(
        f"{source}: no prediction type {name!r}", f"use {' or '.join(PREDICTION_TYPES)}"
    )


def _own_document(metadata: Mapping[str, str], source: Path) -> Config | None:
    """The architecture that esdctl put into a safetensors file's metadata; None without one."""
    text = metadata.get(METADATA_KEY)
    if text is None:
        return None
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: its esdctl metadata is not JSON") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        return None
    document = about.get("architecture")
    return document if isinstance(document, dict) else {}


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


def _refuse_other_unets(in_channels: object, source: str) -> None:
    other = {9: "an inpainting model", 5: "a depth-to-image model", 7: "an upscaler",
             8: "an image-editing model"}  # fmt: skip
    if isinstance(in_channels, int) and in_channels != 4:
        kind = other.get(in_channels, "another kind of model")
        raise InputError(
            f"{source} is {kind}: its U-Net takes {in_channels} channels, not 4",
            "use the text-to-image model of the same family",
        )
