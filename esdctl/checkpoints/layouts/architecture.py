"""The architecture of a Stable Diffusion: the config of each part, from a folder or from shapes.

What decides, first to last: the user's prediction type; the user's LDM config file; the
architecture that esdctl wrote beside the weights; ``NAME.yaml`` beside ``NAME.ckpt``; the file's
metadata; the shapes of the tensors and the family's convention. Where two of them contradict each
other on what the model predicts, the user has to decide.
"""

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
from esdctl.checkpoints.layouts.ldm_config import LdmConfig, read_ldm_config
from esdctl.checkpoints.layouts.model_spec import ModelSpec, read_model_spec
from esdctl.checkpoints.layouts.part_shapes import (
    VOCABULARY,
    Shapes,
    family_of,
    text_config,
    unet_config,
    vae_config,
)
from esdctl.checkpoints.layouts.pipeline_index import check_index, read_index
from esdctl.checkpoints.safetensors.metadata import METADATA_KEY
from esdctl.errors import InputError, UsageError
from esdctl.models.families.family import Config, Family, Part
from esdctl.models.families.registry import all_families, family_of_unet_config, titles
from esdctl.models.families.tensor_names import LDM_EMA_UNET, V_PREDICTION_MARK
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
    _refuse_other_unets(unet.get("in_channels", 4), str(folder))
    notes = check_index(index, family, folder)
    scheduler = _config(folder, "scheduler", "scheduler_config.json")
    check_whole_scheduler(scheduler, folder)
    if prediction_type is not None:
        scheduler["prediction_type"] = _known_prediction_type(prediction_type, str(folder))
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
        named = prediction_type and _known_prediction_type(prediction_type, str(source))
        known = _from_shapes(infos, metadata, source, ldm, named or None)
    if any(name.startswith(LDM_EMA_UNET) for name in infos):
        note = "its averaged weights (model_ema) are left aside; its U-Net is the one under model."
        known = replace(known, notes=(*known.notes, note))
    known = _checked(known, source)
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
    """The architecture with notes for the user, if we compute all that it says."""
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


def _from_shapes(
    infos: Shapes,
    metadata: Mapping[str, str],
    source: Path,
    ldm: LdmConfig,
    named: PredictionType | None,
) -> Architecture:
    family = family_of(infos, source)
    unet = unet_config(infos, source, family, ldm)
    _refuse_other_unets(unet["in_channels"], str(source))
    ldm.compare(unet, source)
    spec = read_model_spec(metadata, family, source)
    prediction, notes = named, spec.notes
    if prediction is None:
        prediction, guesses = _said_prediction(family, infos, metadata, ldm, spec, source)
        notes += guesses
    texts = {
        encoder.part: text_config(infos, source, family, encoder, ldm.layer)
        for encoder in family.encoders
    }
    notes += _unreachable_tokens(texts)
    vae = vae_config(infos, source, family, ldm.scale_factor)
    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    unet["sample_size"] = family.process.latents_side[prediction]
    if spec.side is not None:
        unet["sample_size"] = spec.side // factor
    vae["sample_size"] = unet["sample_size"] * factor
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


def _said_prediction(
    family: Family,
    infos: Shapes,
    metadata: Mapping[str, str],
    ldm: LdmConfig,
    spec: ModelSpec,
    source: Path,
) -> tuple[PredictionType, tuple[str, ...]]:
    """What the files say that the model predicts, or else what to assume and to tell the user."""
    said = dict(spec.predictions)
    if V_PREDICTION_MARK in infos:
        said[f"its tensor {V_PREDICTION_MARK}"] = "v_prediction"
    if ldm.prediction_type is not None:
        said[str(ldm.source)] = _known_prediction_type(ldm.prediction_type, str(ldm.source))
    if len(set(said.values())) > 1:
        listed = ", ".join(f"{kind} by {where}" for where, kind in said.items())
        raise InputError(
            f"{source}: contradictions on what the model predicts: {listed}",
            "say what is true with --prediction-type",
        )
    if said:
        return next(iter(said.values())), ()
    return family.process.prediction(metadata)


def _unreachable_tokens(texts: Mapping[Part, Config]) -> tuple[str, ...]:
    return tuple(
        f"the {part} has {config['vocab_size'] - VOCABULARY} more tokens than CLIP's vocabulary; "
        "no prompt reaches them, since a checkpoint brings no tokenizer"
        for part, config in texts.items()
        if config["vocab_size"] > VOCABULARY
    )


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
