"""One part of a model on its device, without a second copy of its tensors on the way.

The module is built without memory and takes the file's tensors as they are: on the CPU, where the
type fits, they stay mapped from the file.
"""

from collections.abc import Mapping
from typing import Any

import torch

from esdctl.checkpoints.layouts.accounting import nearest_pairs
from esdctl.checkpoints.layouts.architecture import Architecture
from esdctl.checkpoints.layouts.skeleton import empty_part, tied_names
from esdctl.errors import InputError
from esdctl.models.families.family import Part
from esdctl.models.frozen_layers import FrozenStorage, store_frozen

_PREFIX = "text_model."  # in the names of transformers' modules, not in the canonical ones
_SHOWN = 10  # names in an error


def load_part(
    part: Part,
    architecture: Architecture,
    tensors: Mapping[str, torch.Tensor],
    device: torch.device,
    dtype: torch.dtype,
    source: str,
    storage: FrozenStorage | None = None,
) -> Any:
    """A part in evaluation mode, without gradients.

    Args:
        part: which.
        architecture: of the model.
        tensors: all of the part's, under canonical names; each is read once.
        device, dtype: where they go, and as what.
        source: the model, for messages.
        storage: of a denoiser's layers that no training moves; None has all weights as they are.

    Returns:
        The module: diffusers' or transformers'.

    Raises:
        InputError: a tensor is missing, unexpected or of another shape.
        IntegrityError: the tensors' file is damaged.
    """
    module = empty_part(part, architecture)
    expected, tied = module.state_dict(), _tied(module, tensors)
    named = {name.removeprefix(_PREFIX): name for name in expected if name not in tied}
    _compare(part, {short: expected[name] for short, name in named.items()}, tensors, source)
    stored = store_frozen(module, storage, tensors, device, dtype) if storage else set()
    whole = {short: name for short, name in named.items() if name not in stored}
    state = {name: _placed(tensors[short], device, dtype) for short, name in whole.items()}
    module.load_state_dict(
        {**state, **{name: state[own] for name, own in tied.items()}}, assign=True
    )
    _fill_buffers(module, device)
    return module.eval().requires_grad_(False)


def _tied(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> Mapping[str, str]:
    """Names that stand for another tensor of the module, where the file leaves them out."""
    found = tied_names(module)
    return {name: own for name, own in found.items() if name not in tensors}


def _placed(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """The tensor itself where nothing has to change."""
    if not tensor.is_floating_point():  # batch norm counts its batches
        return tensor.to(device)
    if device.type == "cuda" and tensor.dim() == 4:  # convolutions are fastest so on tensor cores
        return tensor.to(device, dtype, memory_format=torch.channels_last)
    return tensor.to(device, dtype)


def _fill_buffers(module: torch.nn.Module, device: torch.device) -> None:
    """What no file holds: the numbers of CLIP's positions, frequencies of rotary embeddings.

    A rotary embedding is made anew from its config, so that it is the library's own.
    """
    for child in module.modules():
        empty = [name for name, buffer in child.named_buffers(recurse=False) if buffer.is_meta]
        is_rotary = any(name.endswith("inv_freq") for name in empty)
        made: Any = type(child)(child.config) if is_rotary else None
        for name in empty:
            shape = getattr(child, name).shape
            positions = torch.arange(shape[-1], device=device).expand(shape)
            setattr(child, name, getattr(made, name).to(device) if is_rotary else positions)


def _compare(
    part: Part,
    expected: Mapping[str, torch.Tensor],
    found: Mapping[str, torch.Tensor],
    source: str,
) -> None:
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    lines = [
        f"missing {ours}, unexpected {its}" for ours, its in nearest_pairs(missing, unexpected)
    ]
    paired = " ".join(lines).replace(",", "").split()
    lines += [f"missing {name}" for name in missing if name not in paired]
    lines += [f"unexpected {name}" for name in unexpected if name not in paired]
    if not lines:
        shapes = {
            name: (tuple(found[name].shape), tuple(expected[name].shape)) for name in expected
        }
        lines = [
            f"{name} is {its}, not {ours}" for name, (its, ours) in shapes.items() if its != ours
        ]
    if lines:
        more = f"\n  and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        listed = "".join(f"\n  {line}" for line in lines[:_SHOWN])
        raise InputError(
            f"the {part} of {source} does not have the tensors of its config.json:{listed}{more}",
            "its files belong to different models, or are damaged; get the model again",
        )
