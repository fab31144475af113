"""Writes the pocket model in the diffusers layout, fp16 safetensors."""

import json
from pathlib import Path
from typing import TypeVar

from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextModel

from esdctl.evaluation.judges.pocket import PocketClassifier, save_classifier

Part = TypeVar("Part", bound=nn.Module)

SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "timestep_spacing": "leading",
}
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def ship(
    output: Path,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    encoder: CLIPTextModel,
    classifier: PocketClassifier,
) -> None:
    """Write every part; the tokenizer is already there.

    Args:
        output: the pipeline folder.
        unet, vae, encoder, classifier: the trained parts; changed to fp16.
    """
    fp16(unet).save_pretrained(output / "unet")
    fp16(vae).save_pretrained(output / "vae")
    fp16(encoder).save_pretrained(output / "text_encoder")
    save_classifier(classifier, output / "classifier" / "model.safetensors")
    write_document(output / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_document(output / "model_index.json", INDEX)
    write_document(
        output / "concepts.json", {"styles": classifier.styles, "objects": classifier.objects}
    )


def fp16(part: Part) -> Part:
    """The module with its parameters in fp16, changed in place."""
    for parameter in part.parameters():
        parameter.data = parameter.data.half()
    return part


def write_document(path: Path, document: dict[str, object]) -> None:
    """Write a JSON document, its folder made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
