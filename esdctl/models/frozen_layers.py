"""Linear layers that no training moves: stored small, or on the host, and whole only while used.

In a transformer they are nearly all there is. A layer that is stored otherwise than as it is used
gives its weight for each product, forward and backward, and keeps nothing of it in between.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from esdctl.models.pinned import PinnedMemory
from esdctl.models.quantization import Form
from esdctl.settings.quantization import Quantization


@dataclass(frozen=True)
class FrozenStorage:
    """How a network has those layers.

    Args:
        trained: names of the parameters that move; their layers stay as they are.
        quantization: in how many bits; None for the network's own type.
        on_host: whether they are in the host's memory, from which a device takes them.
    """

    trained: frozenset[str]
    quantization: Quantization | None = None
    on_host: bool = False


def frozen_layers(network: nn.Module, trained: Collection[str]) -> Iterator[tuple[str, nn.Linear]]:
    """Those of the network's blocks.

    Args:
        network: its blocks are numbered, as diffusers' are.
        trained: names of the parameters that move; a layer of one of them is left out.

    Yields:
        The layer's name, and the layer.
    """
    moving = {name.rpartition(".")[0] for name in trained}
    for name, layer in network.named_modules():
        in_block = any(part.isdigit() for part in name.split("."))
        if type(layer) is nn.Linear and in_block and name not in moving:
            yield name, layer


def store_frozen(
    network: nn.Module,
    storage: FrozenStorage,
    tensors: Mapping[str, torch.Tensor],
    device: torch.device,
    dtype: torch.dtype,
) -> set[str]:
    """Exchange a network's frozen layers for such as have their weights by ``storage``.

    Args:
        network: without memory behind its tensors yet.
        storage: how.
        tensors: all of the network's, by name; each weight is read once.
        device: where the network will be.
        dtype: what its weights are used in.

    Returns:
        The names of the weights that are stored; the network has no parameters of these names now.

    Raises:
        InputError: the library that quantises does not load.
    """
    layers = dict(frozen_layers(network, storage.trained))
    forms = {
        name: Form(layer.weight.shape, dtype, storage.quantization)
        for name, layer in layers.items()
    }
    pinned = PinnedMemory(device) if storage.on_host else None
    for name, layer in layers.items():
        form, weight = forms[name], tensors[f"{name}.weight"]
        # The device packs, where there is anything to pack.
        is_moved = pinned is None or storage.quantization is not None
        packed = form.pack(weight.to(device if is_moved else weight.device, dtype))
        stored = packed if pinned is None else tuple(map(pinned.copy, packed))
        network.set_submodule(name, FrozenLinear(layer.bias, form, stored, device))
    return {f"{name}.weight" for name in layers}


class FrozenLinear(nn.Module):
    """x W' + b, W stored elsewhere or otherwise; gradients go to x alone.

    Args:
        bias: (O,), or None.
        form: of W, (O, I).
        stored: what ``form`` packed.
        device: where it is used.
    """

    def __init__(
        self,
        bias: nn.Parameter | None,
        form: Form,
        stored: tuple[torch.Tensor, ...],
        device: torch.device,
    ) -> None:
        super().__init__()
        self.bias = bias
        self.out_features, self.in_features = form.shape
        self._form, self._stored, self._device = form, stored, device

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., I) -> (..., O)."""
        product: torch.Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return product

    def weight_now(self) -> torch.Tensor:
        """W on its device, (O, I); from pinned memory nothing waits for the copy."""
        here = (tensor.to(self._device, non_blocking=True) for tensor in self._stored)
        return self._form.unpack(*here)


class _Product(torch.autograd.Function):
    """Autograd's own product would keep W until the backward pass."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor, layer: FrozenLinear) -> torch.Tensor:
        context.layer, context.dtype = layer, x.dtype
        return F.linear(x, layer.weight_now(), layer.bias)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return (gradient @ context.layer.weight_now()).to(context.dtype), None
