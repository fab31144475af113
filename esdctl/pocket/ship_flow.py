"""Writes pocket-flow as diffusers' StableDiffusion3Pipeline saves it, fp16 safetensors."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from esdctl.pocket.ship import fp16, write_document

TOKENS = 32  # of a prompt; captions have 13 at most, and found prompts of attacks 28
SHIFT = 1.0  # of the sigmas: 64 tokens need none
SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "shift": SHIFT,
}
INDEX: dict[str, object] = {
    "_class_name": "StableDiffusion3Pipeline",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "text_encoder_3": [None, None],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "tokenizer_3": [None, None],
    "transformer": ["diffusers", "SD3Transformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def projecting(plain: CLIPTextModel) -> CLIPTextModelWithProjection:
    """The same encoder as SD 3 asks for one: with a projection, and read before its last layer.

    The projection is the identity, and the last layer one more, which adds nothing.
    """
    layers = plain.config.num_hidden_layers
    sizes = {key: value for key, value in plain.config.to_dict().items() if key != "dtype"}
    config = CLIPTextConfig(**{**sizes, "num_hidden_layers": layers + 1})
    encoder = CLIPTextModelWithProjection(config)
    weights = {name.removeprefix("text_model."): v for name, v in plain.state_dict().items()}
    with torch.no_grad():
        for name, value in encoder.state_dict().items():
            if name == "text_projection.weight":
                value.copy_(torch.eye(len(value)))
            elif f"layers.{layers}." in name:
                value.fill_(1.0 if "layer_norm" in name and name.endswith("weight") else 0.0)
            else:
                value.copy_(weights[name.removeprefix("text_model.")])
    return encoder


def ship_flow(output: Path, transformer: SD3Transformer2DModel, pocket: Path) -> None:
    """Write every part.

    Args:
        output: the pipeline folder.
        transformer: trained; changed to fp16.
        pocket: the pocket model's folder, which gives all other parts.
    """
    fp16(transformer).save_pretrained(output / "transformer")
    vae = AutoencoderKL.from_pretrained(pocket / "vae", local_files_only=True)
    vae.register_to_config(shift_factor=0.0)
    fp16(vae).save_pretrained(output / "vae")
    plain = CLIPTextModel.from_pretrained(pocket / "text_encoder", local_files_only=True)
    for number in ("", "_2"):
        fp16(projecting(plain)).save_pretrained(output / f"text_encoder{number}")
        _tokenizer(pocket / "tokenizer", output / f"tokenizer{number}")
    shutil.copytree(pocket / "classifier", output / "classifier", dirs_exist_ok=True)
    for name in ("concepts.json", "LICENSES.md"):  # the same pictures, so the same notices
        shutil.copy(pocket / name, output / name)
    write_document(output / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_document(output / "model_index.json", INDEX)


def _tokenizer(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)
    config = json.loads((target / "tokenizer_config.json").read_text(encoding="utf-8"))
    write_document(target / "tokenizer_config.json", {**config, "model_max_length": TOKENS})
