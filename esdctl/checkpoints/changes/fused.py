"""Changes under the names of another layout, which holds some matrices as one: q, k and v as qkv.

A change of a fused matrix is the changes of its parts, one below the other; where a part does not
change, its rows are zero. On the way back a fused change is cut into its parts' rows, exactly.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

import torch

from esdctl.checkpoints.layouts.key_map import Place
from esdctl.checkpoints.layouts.transformed import from_stored, whole_of
from esdctl.checkpoints.layouts.transforms import (
    UNITS,
    Transform,
    is_divisible,
    shape_of_part,
    shape_of_whole,
)
from esdctl.checkpoints.tensor_info import Shape

# The tensor of the other layout -> diffusers' tensors that lie in it, and how.
Parts = Mapping[str, tuple[tuple[str, Transform], ...]]


def fused_changes(
    changes: Iterable[tuple[str, torch.Tensor]],
    changed: Collection[str],
    found: Mapping[str, Place],
) -> Iterator[tuple[str, torch.Tensor]]:
    """The changes of matrices under the other layout's names, as it holds them.

    Args:
        changes: diffusers' names with new minus old values.
        changed: the names in it.
        found: where every weight of the model lies.

    Returns:
        Each whole matrix once all of its changed parts have come. What is no matrix, and so in no
        LoRA, keeps diffusers' name.
    """
    awaited = Counter(found[name].name for name in changed if name in found)
    begun: dict[str, dict[Transform, torch.Tensor]] = {}
    for name, change in changes:
        if name not in found or change.ndim < 2:
            yield name, change
            continue
        place = found[name]
        if place.transform not in UNITS:
            yield place.name, from_stored(change, place.transform)  # swapped is its own way back
            continue
        parts = begun.setdefault(place.name, {})
        parts[place.transform] = change
        if len(parts) == awaited[place.name]:
            yield place.name, _with_zeros(begun.pop(place.name))


def _with_zeros(parts: Mapping[Transform, torch.Tensor]) -> torch.Tensor:
    """The whole of which these are some parts; the others are zero."""
    transform, part = next(iter(parts.items()))
    whole = shape_of_whole(tuple(part.shape), transform)
    units = UNITS[transform][2]
    every: dict[Transform, torch.Tensor] = {}
    for each, (_, _, its_units) in UNITS.items():
        if its_units == units:
            missing = part.new_zeros(shape_of_part(whole, each))
            every[each] = parts.get(each, missing)
    return whole_of(every)


def parts_in(found: Mapping[str, Place]) -> Parts:
    """What lies in each tensor of the other layout, in the order of its rows."""
    parts: dict[str, tuple[tuple[str, Transform], ...]] = {}
    for name, place in found.items():
        lying = (*parts.get(place.name, ()), (name, place.transform))
        parts[place.name] = tuple(sorted(lying, key=lambda part: UNITS.get(part[1], (0, 0, 0))))
    return parts


def part_changes(name: str, change: torch.Tensor, parts: Parts) -> dict[str, torch.Tensor]:
    """A change under diffusers' names; without parts that it leaves as they are.

    Args:
        name: of the tensor, in either layout.
        change: of the whole.
        parts: as ``parts_in`` gives it.
    """
    if name not in parts:
        return {name: change}
    cut = {each: from_stored(change, transform) for each, transform in parts[name]}
    moved = {each: part.contiguous() for each, part in cut.items() if bool(part.any())}
    return moved or cut


def part_shapes(name: str, shape: Shape, parts: Parts) -> dict[str, Shape]:
    """The shapes of what ``part_changes`` would give at most; none where it cannot be cut so."""
    lying = parts.get(name, ((name, "same"),))
    if not all(is_divisible(shape, transform) for _, transform in lying):
        return {}
    return {each: shape_of_part(shape, transform) for each, transform in lying}
