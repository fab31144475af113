"""What a checkpoint's metadata says of the model, by Stability's modelspec and ComfyUI's keys.

https://github.com/Stability-AI/ModelSpec; programs that merge and train models write it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from esdctl.errors import InputError
from esdctl.models.families.family import Family
from esdctl.models.families.registry import all_families
from esdctl.settings.prediction import PredictionType

_PREDICTION_KEYS = (
    "modelspec.prediction_type",
    "modelspec.predict_key",
)  # ComfyUI writes the latter
_PREDICTION_NAMES: Mapping[str, PredictionType] = {
    "epsilon": "epsilon", "eps": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction",
    "v-prediction": "v_prediction", "v_pred": "v_prediction",
}  # fmt: skip
_LEAST, _MOST = 64, 4096  # pixels a side


@dataclass(frozen=True)
class ModelSpec:
    """What the metadata says; None where it is silent.

    Args:
        predictions: metadata key -> the prediction type there.
        side: of the pictures that the model was trained for, in pixels.
        notes: what it says and nothing uses; for the user.
    """

    predictions: Mapping[str, PredictionType]
    side: int | None
    notes: tuple[str, ...]


def read_model_spec(metadata: Mapping[str, str], family: Family, source: Path) -> ModelSpec:
    """Read the metadata of a safetensors file.

    Args:
        metadata: of the file; keys of others are passed over.
        family: the checkpoint's, by its tensors.
        source: for messages.

    Raises:
        InputError: it says that the file is of another family, or predicts what we do not know.
    """
    predictions: dict[str, PredictionType] = {}
    notes: list[str] = []
    architecture = metadata.get("modelspec.architecture", "")
    if architecture in family.modelspec:
        implied = family.modelspec[architecture]
        if implied is not None:
            predictions["modelspec.architecture"] = implied
    elif architecture:
        others = [other for other in all_families() if architecture in other.modelspec]
        if others:
            raise InputError(
                f"{source} holds the tensors of {family.title}, and its metadata "
                f"(modelspec.architecture) says {architecture}",
                "get the checkpoint again, or correct its metadata",
            )
        notes.append(f"its metadata calls its architecture {architecture!r}; its tensors are those "
                     f"of {family.title}")  # fmt: skip
    for key in _PREDICTION_KEYS:
        named = metadata.get(key, "").strip().lower()
        if named and named not in _PREDICTION_NAMES:
            raise InputError(
                f"{source} predicts {named!r} by its metadata ({key})",
                "use a model that predicts epsilon or v, or name what it predicts with "
                "--prediction-type",
            )
        if named:
            predictions[key] = _PREDICTION_NAMES[named]
    side = _side(metadata.get("modelspec.resolution", ""), notes)
    layer = metadata.get("modelspec.encoder_layer", "").strip()
    if layer and layer != family.modelspec_layer:
        notes.append(f"its metadata names CLIP's layer {layer} from the end (clip skip); this "
                     f"version takes {family.modelspec_layer}, as {family.title} does")  # fmt: skip
    return ModelSpec(predictions, side, tuple(notes))


def _side(resolution: str, notes: list[str]) -> int | None:
    """``1024x1024`` -> 1024."""
    found = re.fullmatch(r"\s*(\d{2,5})(?:\s*x\s*(\d{2,5}))?\s*", resolution)
    if found is None or found[2] not in (None, found[1]):
        if resolution.strip():
            notes.append(f"the resolution {resolution!r} of its metadata is not used")
        return None
    side = int(found[1])
    if side % 8 == 0 and _LEAST <= side <= _MOST:
        return side
    notes.append(f"the resolution {resolution!r} of its metadata is not used")
    return None
