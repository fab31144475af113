"""Tensors as another layout than diffusers' holds them, and as diffusers has them again."""

from collections.abc import Mapping

import torch

from esdctl.checkpoints.layouts.key_map import Place
from esdctl.checkpoints.layouts.transforms import UNITS, Transform


def from_stored(tensor: torch.Tensor, transform: Transform) -> torch.Tensor:
    """A tensor as diffusers has it; a view where that is possible.

    Args:
        tensor: as the other layout holds it; of a part, the whole.
        transform: how diffusers' tensor lies in it.
    """
    if transform == "conv":
        return tensor.reshape(tensor.shape[:2])  # (O, I, 1, 1) -> (O, I)
    if transform == "transposed":
        return tensor.T.contiguous()
    if transform == "swapped":
        return _with_halves_swapped(tensor)
    if transform in UNITS:
        first, end, units = UNITS[transform]
        unit = tensor.shape[0] // units
        return tensor[first * unit : end * unit]  # (3D, ...) -> (D, ...)
    return tensor


def stored_tensors(
    tensors: Mapping[str, torch.Tensor], found: Mapping[str, Place]
) -> dict[str, torch.Tensor]:
    """The tensors of a part as another layout holds them.

    Args:
        tensors: all of the part, under canonical diffusers names.
        found: where each of them lies.
    """
    stored: dict[str, torch.Tensor] = {}
    fused: dict[str, dict[Transform, torch.Tensor]] = {}
    for name, place in found.items():
        tensor = tensors[name]
        if place.transform in UNITS:
            fused.setdefault(place.name, {})[place.transform] = tensor
        elif place.transform == "conv":
            stored[place.name] = tensor.reshape(*tensor.shape, 1, 1)
        elif place.transform == "transposed":
            stored[place.name] = tensor.T.contiguous()
        elif place.transform == "swapped":
            stored[place.name] = _with_halves_swapped(tensor)
        else:
            stored[place.name] = tensor
    return stored | {name: whole_of(parts) for name, parts in fused.items()}


def whole_of(parts: Mapping[Transform, torch.Tensor]) -> torch.Tensor:
    """All parts of one tensor, one below the other in their order.

    Those that still lie so in a mapped file are not copied.
    """
    ordered = [parts[transform] for transform in UNITS if transform in parts]
    return torch.cat(ordered) if _lie_apart(ordered) else _joined(ordered)


def _lie_apart(ordered: list[torch.Tensor]) -> bool:
    """Whether tensors do not lie one behind the other in the memory of the first one."""
    first = ordered[0]
    end, is_unlike = first.data_ptr(), False
    for tensor in ordered:
        is_unlike |= tensor.data_ptr() != end or tensor.dtype != first.dtype
        is_unlike |= not tensor.is_contiguous() or tensor.is_meta
        end += tensor.nbytes
    memory = first.untyped_storage()
    return is_unlike or end > memory.data_ptr() + memory.nbytes()


def _joined(ordered: list[torch.Tensor]) -> torch.Tensor:
    first = ordered[0]
    rows = sum(len(tensor) for tensor in ordered)
    return first.as_strided((rows, *first.shape[1:]), first.stride())


def _with_halves_swapped(tensor: torch.Tensor) -> torch.Tensor:
    """Shift and scale as scale and shift, or the way back."""
    return tensor.roll(tensor.shape[0] // 2, dims=0)
