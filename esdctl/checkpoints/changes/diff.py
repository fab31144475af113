"""Which tensors of two models differ, by how much, gathered by module."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch

from esdctl.models.families.family import Part

# A name up to the module that a reader thinks in: an attention, a feed-forward, a resnet, a layer.
_MODULE = re.compile(
    r"(.*\.(?:attn\d|ff)\b|.*\.self_attn\b|.*\.mlp\b|.*\.(?:resnets|attentions|layers)\.\d+"
    r"|.*\.(?:down|up)samplers\.\d+)"
)


@dataclass(frozen=True)
class TensorChange:
    """One tensor that differs.

    Args:
        name: part and diffusers' name, such as ``unet.conv_in.weight``.
        largest: the largest absolute difference; NaN where one side holds NaN.
        relative: the norm of the difference over the norm of the first; infinite when that is 0.
    """

    name: str
    largest: float
    relative: float


@dataclass(frozen=True)
class ModuleChange:
    """What differs within a module.

    Args:
        module: part and module, such as ``unet.mid_block.attentions.0.attn2``.
        changed: how many of its tensors differ.
        tensors: how many it has.
        parameters: how many numbers the differing tensors hold.
        largest, relative: as in ``TensorChange``, over all of the module's tensors.
    """

    module: str
    changed: int
    tensors: int
    parameters: int
    largest: float
    relative: float


@dataclass(frozen=True)
class Difference:
    """All that differs between a first and a second model.

    Args:
        modules: those with a difference, in the order of their names.
        tensors: every differing tensor, likewise.
        same: how many tensors are equal, bit for bit but for their type.
        only_in_first, only_in_second: names that one of them lacks.
        misshapen: names whose shapes differ, with both shapes.
    """

    modules: tuple[ModuleChange, ...]
    tensors: tuple[TensorChange, ...]
    same: int
    only_in_first: tuple[str, ...]
    only_in_second: tuple[str, ...]
    misshapen: tuple[str, ...]

    def document(self) -> dict[str, object]:
        """As a JSON document; what is not finite is null, since JSON has no such numbers."""
        return {
            "same": self.same,
            "modules": [_finite(asdict(module)) for module in self.modules],
            "tensors": [_finite(asdict(tensor)) for tensor in self.tensors],
            "only_in_first": list(self.only_in_first),
            "only_in_second": list(self.only_in_second),
            "misshapen": list(self.misshapen),
        }


@dataclass
class _Sum:
    """What adds up over a module's tensors."""

    changed: int = 0
    tensors: int = 0
    parameters: int = 0
    largest: float = 0.0
    difference: float = 0.0  # squared norm
    size: float = 0.0  # squared norm of the first


def compare(
    first: Mapping[Part, Mapping[str, torch.Tensor]],
    second: Mapping[Part, Mapping[str, torch.Tensor]],
) -> Difference:
    """Compare two models, one tensor at a time.

    Args:
        first, second: part -> diffusers' name -> tensor; types may differ.
    """
    names_1, names_2 = (_names(model) for model in (first, second))
    sums: dict[str, _Sum] = {}
    tensors: list[TensorChange] = []
    misshapen: list[str] = []
    same = 0
    for part, name in sorted(names_1 & names_2):
        whole = f"{part}.{name}"
        one, two = first[part][name], second[part][name]
        if one.shape != two.shape:
            misshapen.append(f"{whole} {tuple(one.shape)} {tuple(two.shape)}")
            continue
        total = sums.setdefault(_module(whole), _Sum())
        change = _compare_tensors(whole, one, two, total)
        if change is None:
            same += 1
        else:
            tensors.append(change)
    return Difference(
        tuple(_module_change(name, total) for name, total in sums.items() if total.changed),
        tuple(tensors),
        same,
        tuple(f"{part}.{name}" for part, name in sorted(names_1 - names_2)),
        tuple(f"{part}.{name}" for part, name in sorted(names_2 - names_1)),
        tuple(misshapen),
    )


def _names(model: Mapping[Part, Mapping[str, torch.Tensor]]) -> set[tuple[Part, str]]:
    return {(part, name) for part, tensors in model.items() for name in tensors}


def _compare_tensors(
    name: str, one: torch.Tensor, two: torch.Tensor, total: _Sum
) -> TensorChange | None:
    """The change of a tensor, None when there is none; adds it to its module's sum."""
    total.tensors += 1
    first = one.double()
    size = float(first.square().sum())
    total.size += size
    if one.dtype == two.dtype and torch.equal(one, two):
        return None
    difference = two.double() - first
    squares = float(difference.square().sum())
    if squares == 0:
        return None
    largest = float(difference.abs().max())
    total.changed += 1
    total.parameters += one.numel()
    total.largest = largest if math.isnan(largest) else max(total.largest, largest)
    total.difference += squares
    return TensorChange(name, largest, _ratio(squares, size))


def _module_change(name: str, total: _Sum) -> ModuleChange:
    return ModuleChange(
        name, total.changed, total.tensors, total.parameters, total.largest,
        _ratio(total.difference, total.size),
    )  # fmt: skip


def _ratio(squares: float, size: float) -> float:
    """The ratio of two norms from their squares."""
    return math.sqrt(squares / size) if size > 0 else math.inf


def _module(name: str) -> str:
    """``unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight`` up to ``attn2``."""
    found = _MODULE.match(name)
    return found[1] if found else name.rpartition(".")[0]


def _finite(document: dict[str, object]) -> dict[str, object]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in document.items()
    }
