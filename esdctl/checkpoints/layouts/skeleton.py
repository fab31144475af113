"""The tensors that an architecture's parts must have: the real classes, built without memory."""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch

from esdctl.checkpoints.layouts.architecture import Architecture
from esdctl.checkpoints.tensor_info import Shape
from esdctl.errors import InputError
from esdctl.models.families.family import ModelPart, Part


def skeleton(architecture: Architecture) -> dict[Part, Mapping[str, Shape]]:
    """Part -> canonical diffusers name -> shape, in the order of the modules.

    Names that stand for another tensor of their part (T5's second one of its embeddings) are left
    out, as files leave them out.

    Raises:
        InputError: a part's config makes no model.
    """
    return {
        part: _shapes(
            part, architecture.family.parts[part], json.dumps(dict(config), sort_keys=True)
        )
        for part, config in architecture.configs.items()
    }


@lru_cache(maxsize=16)
def _shapes(part: Part, kind: ModelPart, config: str) -> Mapping[str, Shape]:
    module = _empty(part, kind, json.loads(config))
    tensors, tied = module.state_dict(), tied_names(module)
    return {
        name.removeprefix("text_model."): tuple(tensors[name].shape)
        for name in tensors
        if name not in tied
    }


def tied_names(module: torch.nn.Module) -> Mapping[str, str]:
    """Names that stand for another tensor of the module, which files may leave out -> that one."""
    tied = getattr(module, "_tied_weights_keys", None)
    return tied if isinstance(tied, Mapping) else {}


def empty_part(part: Part, architecture: Architecture) -> torch.nn.Module:
    """A part without memory behind its tensors (torch's meta device).

    Raises:
        InputError: the config makes no model.
    """
    return _empty(part, architecture.family.parts[part], architecture.config(part))


def _empty(part: Part, kind: ModelPart, config: Mapping[str, Any]) -> torch.nn.Module:
    try:
        with torch.device("meta"):
            return _build(kind, dict(config))
    except (TypeError, ValueError, KeyError, IndexError, RuntimeError) as error:
        raise InputError(
            f"the config of the {part} makes no model: {error}",
            "its config.json or LDM config file is damaged, or of another kind of model",
        ) from error


def _build(kind: ModelPart, config: dict[str, Any]) -> torch.nn.Module:
    # Imported here: what only looks at a file's names must not wait for two large libraries.
    if kind.library == "diffusers":
        import diffusers

        module: torch.nn.Module = getattr(diffusers, kind.class_name).from_config(config)
        return module
    import transformers

    encoder_class = getattr(transformers, kind.class_name)
    encoder: torch.nn.Module = encoder_class(encoder_class.config_class(**config))
    return encoder
