"""Where a model runs: names to torch devices that exist on this machine."""

import torch

from esdctl.errors import DeviceError
from esdctl.models.memory import is_lack_of_memory
from esdctl.settings.devices import device_name, parse_devices


def find_devices(text: str | None) -> tuple[torch.device, ...]:
    """One device, or two: for the student, and for its frozen copy.

    Args:
        text: as in ``parse_devices``; None for CUDA where there is one, else the CPU.

    Raises:
        UsageError: it names no device, or more than two.
        DeviceError: this machine has no such device.
    """
    if text is None:
        return (find_device(None),)
    return tuple(find_device(name, "--devices") for name in parse_devices(text))


def find_device(name: str | None, option: str = "--device") -> torch.device:
    """A torch device by its name: ``cpu``, ``cuda``, ``cuda:1``, ``1`` (a CUDA index), ``mps``.

    Args:
        name: None for CUDA where there is one, else the CPU.
        option: where the user can name another.

    Raises:
        UsageError: no machine has such a device.
        DeviceError: this machine has no such device, or it cannot be used; says which.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    spelled = device_name(name)
    try:
        device = torch.device(spelled)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:  # of kinds that torch lacks
        known = existing_devices()
        choose = f"this machine has: {', '.join(known)}; choose with {option} {known[-1]}"
        if (spelled not in known and spelled != "cuda") or "invalid device ordinal" in str(error):
            raise DeviceError(f"no device {spelled!r} here", choose) from None
        why = str(error).strip().partition("\n")[0]
        if is_lack_of_memory(error):
            raise DeviceError(f"the memory of {spelled} is full ({why})", choose) from error
        raise DeviceError(
            f"{spelled} cannot be used: {why}",
            f"check its driver (nvidia-smi) and that no other program holds it; {choose}",
        ) from error
    return device


def existing_devices() -> list[str]:
    """The names of this machine's devices."""
    names = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return [*names, "mps"] if torch.backends.mps.is_available() else names
