"""The architecture of a Stable Diffusion: the config of each part, from a folder or from shapes.

What decides, first to last: the user's prediction type; the user's LDM config file; the
architecture that esdctl wrote beside the weights; ``NAME.yaml`` beside ``NAME.ckpt``; the shapes of
the tensors and the family's convention (8 heads in SD 1.x, 64 channels a head in 2.x and XL).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from esdctl.checkpoints.layouts.config_limits import check_config, check_widths
from esdctl.checkpoints.layouts.ldm_config import LdmConfig, read_ldm_config
from esdctl.checkpoints.layouts.part_shapes import (
    Shapes,
    clip_config,
    family_of,
    open_clip_config,
    unet_config,
    vae_config,
)
from esdctl.checkpoints.safetensors.metadata import METADATA_KEY
from esdctl.errors import InputError, UsageError

Family = Literal["sd1", "sd2", "sdxl"]
Prediction = Literal["epsilon", "v_prediction"]
Config = Mapping[str, Any]

FORMAT = "esdctl-checkpoint-1"

# Optimiser steps after which Stability's two models of 512 px were saved (2.0-base, 2.1-base).
EPSILON_STEPS = ("875000", "220000")
SIDES = {("sd1", "epsilon"): 64, ("sd2", "epsilon"): 64, ("sd2", "v_prediction"): 96}
SIDE_XL = 128  # latents a side: 1024 px


@dataclass(frozen=True)
class Architecture:
    """A model without its weights.

    Args:
        family: which Stable Diffusion it is built like; sizes may differ.
        prediction_type: what the U-Net predicts.
        unet, vae, text_encoder, text_encoder_2: as in diffusers' and transformers' config.json;
            the second text encoder is SDXL's.
        scheduler: as in scheduler_config.json.
        notes: what was assumed; for the user.
    """

    family: Family
    prediction_type: Prediction
    unet: Config
    vae: Config
    text_encoder: Config
    text_encoder_2: Config | None
    scheduler: Config
    notes: tuple[str, ...] = field(default=(), compare=False)

    def document(self) -> dict[str, object]:
        """As a JSON document; ``architecture_from_document`` reads it."""
        content = asdict(self)
        del content["notes"]
        return content


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
    if unet.get("addition_embed_type") == "text_time":
        family: Family = "sdxl"
    elif unet.get("use_linear_projection"):
        family = "sd2"
    else:
        family = "sd1"
    _refuse_other_unets(unet.get("in_channels", 4), str(folder))
    text_encoder = _config(folder, "text_encoder")
    if not str(text_encoder.get("model_type", "clip_text_model")).startswith("clip"):
        raise InputError(
            f"{folder}: the text encoder is a {text_encoder['model_type']}, not CLIP",
            "use a Stable Diffusion 1.x, 2.x or XL model",
        )
    scheduler = _config(folder, "scheduler", "scheduler_config.json")
    prediction = _prediction(
        prediction_type or str(scheduler.get("prediction_type", "epsilon")), str(folder)
    )
    found = Architecture(
        family,
        prediction,
        unet,
        _config(folder, "vae"),
        text_encoder,
        _config(folder, "text_encoder_2") if family == "sdxl" else None,
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
    return _predicting(known, _prediction(prediction_type, str(source)))


def architecture_from_document(document: Mapping[str, Any], source: Path) -> Architecture:
    """Read what ``Architecture.document`` gave.

    Raises:
        InputError: it is not such a document.
    """
    parts = ("unet", "vae", "text_encoder", "scheduler")
    second = document.get("text_encoder_2")
    family = document.get("family")
    whole = all(isinstance(document.get(part), dict) for part in parts)
    has_second = isinstance(second, dict) if family == "sdxl" else second is None
    if not whole or not has_second or family not in get_args(Family):
        raise InputError(
            f"{source}: its esdctl architecture is damaged",
            "write the checkpoint again, or name its LDM config file with --model-config-path",
        )
    return Architecture(
        cast(Family, family),
        _prediction(str(document.get("prediction_type")), str(source)),
        document["unet"],
        document["vae"],
        document["text_encoder"],
        second,
        document["scheduler"],
    )


def _checked(architecture: Architecture, source: Path) -> Architecture:
    """The architecture itself, if every part's sizes make sense and they fit together."""
    for part in ("unet", "vae", "text_encoder", "text_encoder_2", "scheduler"):
        check_config(getattr(architecture, part) or {}, part, source)
    encoders = [each for each in (architecture.text_encoder, architecture.text_encoder_2) if each]
    check_widths(architecture.unet, encoders, source)
    return architecture


def _from_shapes(
    infos: Shapes, metadata: Mapping[str, str], source: Path, ldm: LdmConfig
) -> Architecture:
    family = cast(Family, family_of(infos, source))
    unet = unet_config(infos, source, ldm)
    _refuse_other_unets(unet["in_channels"], str(source))
    ldm.compare(unet, source)
    prediction, notes = _assumed_prediction(family, infos, metadata, ldm)
    if family == "sdxl":
        text_encoder = clip_config(infos, "conditioner.embedders.0.transformer.text_model.", source)
        second = open_clip_config(infos, "conditioner.embedders.1.model.", source, is_second=True)
    elif family == "sd2":
        text_encoder = open_clip_config(infos, "cond_stage_model.model.", source, is_second=False)
        second = None
    else:
        text_encoder = clip_config(infos, "cond_stage_model.transformer.text_model.", source)
        second = None
    unet["sample_size"] = SIDES.get((family, prediction), SIDE_XL if family == "sdxl" else 64)
    vae = vae_config(infos, source, is_xl=family == "sdxl", scale=ldm.scale_factor)
    vae["sample_size"] = unet["sample_size"] * 2 ** (len(vae["block_out_channels"]) - 1)
    scheduler = _scheduler(family, prediction, ldm)
    return Architecture(family, prediction, unet, vae, text_encoder, second, scheduler, notes)


def _assumed_prediction(
    family: Family, infos: Shapes, metadata: Mapping[str, str], ldm: LdmConfig
) -> tuple[Prediction, tuple[str, ...]]:
    """The prediction type that nobody named, and what to tell the user of the guess."""
    if ldm.prediction_type is not None:
        return _prediction(ldm.prediction_type, "the LDM config file"), ()
    if family == "sdxl":
        # The mark that makers of v-prediction XL models put into their checkpoints.
        return ("v_prediction" if "v_pred" in infos else "epsilon"), ()
    if family == "sd1" or metadata.get("global_step") in EPSILON_STEPS:
        return "epsilon", ()
    note = (
        "nothing says what this SD 2.x model predicts; v_prediction is assumed, as in the models "
        "of 768 px (--prediction-type epsilon says otherwise)"
    )
    return "v_prediction", (note,)


def _predicting(known: Architecture, prediction: Prediction) -> Architecture:
    scheduler = {**known.scheduler, "prediction_type": prediction}
    return replace(known, prediction_type=prediction, scheduler=scheduler, notes=())


def _prediction(name: str, source: str) -> Prediction:
    if name not in get_args(Prediction):
        raise UsageError(f"{source}: no prediction type {name!r}", "use epsilon or v_prediction")
    return cast(Prediction, name)


def _scheduler(family: Family, prediction: Prediction, ldm: LdmConfig) -> dict[str, object]:
    """The scheduler of the family's published pipeline folders."""
    name = {"sd1": "PNDMScheduler", "sd2": "DDIMScheduler", "sdxl": "EulerDiscreteScheduler"}
    config: dict[str, object] = {
        "_class_name": name[family],
        "beta_start": ldm.beta_start,
        "beta_end": ldm.beta_end,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": ldm.timesteps,
        "prediction_type": prediction,
        "steps_offset": 1,
        "timestep_spacing": "leading",
    }
    if family == "sdxl":
        return config
    config |= {"clip_sample": False, "set_alpha_to_one": False}
    return {**config, "skip_prk_steps": True} if family == "sd1" else config


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
