"""The tensors that an architecture's parts must have: the real classes, built without memory."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch

from esdctl.checkpoints.layouts.architecture import Architecture
from esdctl.checkpoints.layouts.key_map import Part, family_parts
from esdctl.errors import InputError

Shape = tuple[int, ...]


def skeleton(architecture: Architecture) -> dict[Part, Mapping[str, Shape]]:
    """Part -> canonical diffusers name -> shape, in the order of the modules.

    Raises:
        InputError: a part's config makes no model.
    """
    return {
        part: _shapes(part, json.dumps(dict(getattr(architecture, part)), sort_keys=True))
        for part in family_parts(architecture.family)
    }


@lru_cache(maxsize=16)
def _shapes(part: Part, config: str) -> Mapping[str, Shape]:
    tensors = empty_part(part, json.loads(config)).state_dict()
    return {name.removeprefix("text_model."): tuple(tensors[name].shape) for name in tensors}


def empty_part(part: Part, config: Mapping[str, Any]) -> torch.nn.Module:
    """A part without memory behind its tensors (torch's meta device).

    Raises:
        InputError: the config makes no model.
    """
    try:
        with torch.device("meta"):
            return _build(part, dict(config))
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError) as error:
        raise InputError(
            f"the config of the {part} makes no model: {error}",
            "its config.json or LDM config file is damaged, or of another kind of model",
        ) from error


def _build(part: Part, config: dict[str, Any]) -> torch.nn.Module:
    # Imported here: what only looks at a file's names must not wait for two large libraries.
    if part in ("unet", "vae"):
        from diffusers import AutoencoderKL, UNet2DConditionModel

        cls = UNet2DConditionModel if part == "unet" else AutoencoderKL
        module: torch.nn.Module = cls.from_config(config)
        return module
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    if part == "text_encoder":
        return CLIPTextModel(CLIPTextConfig(**config))
    return CLIPTextModelWithProjection(CLIPTextConfig(**config))
