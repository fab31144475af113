"""How a tensor lies in another layout than diffusers': as it is, reshaped, swapped, or as a part.

A part is some of the rows of a larger tensor, counted in units of equal size: q is the first third
of a fused qkv. In a single block of FLUX.1 the feed-forward's first layer, four times as wide as
the block, lies below q, k and v, so that the units are sevenths. Weights and biases lie alike.
Loads no torch.
"""

from collections.abc import Mapping
from typing import Literal

# The same; a linear layer as a 1x1 convolution; transposed; halves of rows (shift and scale) in the
# other order; a third of a fused qkv; a part of a single block's fused matrix.
Transform = Literal[
    "same", "conv", "transposed", "swapped", "q", "k", "v", "q7", "k7", "v7", "mlp7"
]  # fmt: skip

Row = tuple[str, str, Transform]  # the other layout's name, diffusers', how it lies in the other

# Transform -> the first unit, the one behind the last, and how many the whole has; in their order.
UNITS: Mapping[Transform, tuple[int, int, int]] = {
    "q": (0, 1, 3), "k": (1, 2, 3), "v": (2, 3, 3),
    "q7": (0, 1, 7), "k7": (1, 2, 7), "v7": (2, 3, 7), "mlp7": (3, 7, 7),
}  # fmt: skip
OF_BIASES = frozenset({"swapped", *UNITS})  # in which a layer's bias lies as its weight does


def shape_of_whole(shape: tuple[int, ...], transform: Transform) -> tuple[int, ...]:
    """The shape of the tensor that this one is a part of; its own where it is none.

    Args:
        shape: as diffusers has it.
        transform: how it lies.
    """
    if transform not in UNITS:
        return shape
    first, end, units = UNITS[transform]
    return (shape[0] // (end - first) * units, *shape[1:])


def shape_of_part(shape: tuple[int, ...], transform: Transform) -> tuple[int, ...]:
    """The shape of a part; see ``is_divisible``.

    Args:
        shape: of the whole.
        transform: which part.
    """
    if transform not in UNITS:
        return shape
    first, end, units = UNITS[transform]
    return (shape[0] // units * (end - first), *shape[1:])


def is_divisible(shape: tuple[int, ...], transform: Transform) -> bool:
    """Whether a whole of this shape can be cut into such parts."""
    units = UNITS[transform][2] if transform in UNITS else 2 if transform == "swapped" else 1
    return bool(shape) and shape[0] % units == 0
