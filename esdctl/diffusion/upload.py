"""A copy from the machine's memory to a device, which the host does not wait for."""

import torch


def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The same on a device; the values are those of the call, whatever happens to them later.

    From pinned memory CUDA copies while the host goes on (CUDA C++ Programming Guide, "Page-Locked
    Host Memory"); what is on the device already stays.

    Args:
        tensor: of a few rows; it is copied twice.
        device: where it is wanted.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
