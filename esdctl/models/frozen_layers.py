"""Linear layers that no training moves."""

from collections.abc import Collection, Iterator

from torch import nn


def frozen_layers(network: nn.Module, trained: Collection[str]) -> Iterator[tuple[str, nn.Linear]]:
    """Those of the network's blocks, which hold nearly all of a transformer.

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
