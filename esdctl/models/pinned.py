"""Tensors in pinned memory of the host, from which a CUDA device copies by itself."""

import math

import torch

# Torch takes pinned memory in powers of two, so layers share large pieces of it.
PIECE = 2**30  # bytes
ALIGNED = 512  # bytes


class PinnedMemory:
    """Copies of tensors in pinned memory, which is theirs as long as one of them lives.

    Args:
        device: what will copy from it; for other devices than CUDA's it is ordinary memory.
        piece: bytes that are taken at once.
    """

    def __init__(self, device: torch.device, piece: int = PIECE) -> None:
        self._is_pinned, self._size = device.type == "cuda", piece
        self._piece = torch.empty(0, dtype=torch.uint8)
        self._used = 0

    def copy(self, tensor: torch.Tensor) -> torch.Tensor:
        """The same on the host."""
        if not self._is_pinned:
            return tensor.to("cpu", copy=True)
        size = math.prod(tensor.shape) * tensor.element_size()
        if self._used + size > len(self._piece):
            self._piece = torch.empty(max(size, self._size), dtype=torch.uint8, pin_memory=True)
            self._used = 0
        place = self._piece[self._used : self._used + size]
        self._used += -(-size // ALIGNED) * ALIGNED
        return place.view(tensor.dtype).view(tensor.shape).copy_(tensor)
