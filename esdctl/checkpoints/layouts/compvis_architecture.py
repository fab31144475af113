"""The architecture of a CompVis checkpoint, worked out from shapes and metadata.

A file whose denoiser is a transformer may hold that alone: then so does its architecture.

What decides, first to last: the user's prediction type; the user's LDM config file; the
architecture that esdctl wrote beside the weights; ``NAME.yaml`` beside ``NAME.ckpt``; the file's
metadata; the shapes of the tensors and the family's convention. Where two of them contradict each
other on what the model predicts, the user has to decide.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from esdctl.checkpoints.layouts.architecture import (
    FORMAT,
    Architecture,
    architecture_from_document,
    checked,
    known_prediction_type,
    refuse_other_prediction,
    refuse_other_unets,
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
from esdctl.checkpoints.layouts.transformer_shapes import held_architecture
from esdctl.checkpoints.safetensors.metadata import METADATA_KEY
from esdctl.errors import InputError, UsageError
from esdctl.models.families.family import Config, Family, Part
from esdctl.models.families.registry import family_of_names
from esdctl.models.families.tensor_names import LDM_EMA_UNET, V_PREDICTION_MARK
from esdctl.settings.prediction import PredictionType


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
    document = _own_document(metadata, source)
    family = family_of_names(infos)
    if family is not None and family.one_file is not None:
        return _of_transformer(infos, source, document, model_config, prediction_type)
    yaml_file = source.with_suffix(".yaml")
    file = model_config or (yaml_file if yaml_file.is_file() else None)
    ldm = read_ldm_config(file) if file is not None else LdmConfig()
    if model_config is not None or document is None:
        document = ldm.esdctl
    if document is not None:
        known = architecture_from_document(document, source)
    else:
        named = prediction_type and known_prediction_type(prediction_type, str(source))
        known = _from_shapes(infos, metadata, source, ldm, named or None)
    if any(name.startswith(LDM_EMA_UNET) for name in infos):
        note = "its averaged weights (model_ema) are left aside; its U-Net is the one under model."
        known = replace(known, notes=(*known.notes, note))
    known = checked(known, source)
    if prediction_type is None:
        return known
    return _predicting(known, known_prediction_type(prediction_type, str(source)))


def _of_transformer(
    infos: Shapes,
    source: Path,
    document: Config | None,
    model_config: Path | None,
    prediction_type: str | None,
) -> Architecture:
    """What a file of SD 3 or FLUX.1 holds; LDM has no config files of them."""
    family = family_of(infos, source)
    if model_config is not None:
        raise UsageError(
            f"{source} is a file of {family.title}, of which LDM config files say nothing",
            "leave --model-config-path out",
        )
    refuse_other_prediction(family, prediction_type, source)
    said = None if document is None else architecture_from_document(document, source)
    return checked(held_architecture(infos, source, family, said), source)


def _from_shapes(
    infos: Shapes,
    metadata: Mapping[str, str],
    source: Path,
    ldm: LdmConfig,
    named: PredictionType | None,
) -> Architecture:
    family = family_of(infos, source)
    unet = unet_config(infos, source, family, ldm)
    refuse_other_unets(unet["in_channels"], str(source))
    ldm.compare(unet, source)
    spec = read_model_spec(metadata, family, source)
    prediction, notes = named, spec.notes
    if prediction is None:
        prediction, guesses = _declared_prediction(family, infos, metadata, ldm, spec, source)
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
    configs: dict[Part, Config] = {"unet": unet, "vae": vae, **texts}
    return Architecture(family, prediction, configs, scheduler, notes)


def _declared_prediction(
    family: Family,
    infos: Shapes,
    metadata: Mapping[str, str],
    ldm: LdmConfig,
    spec: ModelSpec,
    source: Path,
) -> tuple[PredictionType, tuple[str, ...]]:
    """What the files say that the model predicts, or else what to assume and to tell the user."""
    declared = dict(spec.predictions)
    if V_PREDICTION_MARK in infos:
        declared[f"its tensor {V_PREDICTION_MARK}"] = "v_prediction"
    if ldm.prediction_type is not None:
        declared[str(ldm.source)] = known_prediction_type(ldm.prediction_type, str(ldm.source))
    if len(set(declared.values())) > 1:
        listed = ", ".join(f"{kind} by {where}" for where, kind in declared.items())
        raise InputError(
            f"{source}: contradictions on what the model predicts: {listed}",
            "say what is true with --prediction-type",
        )
    if declared:
        return next(iter(declared.values())), ()
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
    return replace(known, prediction_type=prediction, scheduler=scheduler)


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
