"""Memory of a device: what is free, what a computation takes, what to say when it is short."""

import ctypes
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from esdctl.errors import DeviceError

_CGROUP = Path("/sys/fs/cgroup")  # a container's own limit, in version 2's files
_LARGEST_THRESHOLD = 31 * 2**20  # bytes; glibc's limit is 32 MiB with the block's header
_M_MMAP_THRESHOLD = -3  # mallopt(3)
_RETURNED_FROM = 2**18  # bytes
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@contextmanager
def memory_errors(device: torch.device, advice: Callable[[], Sequence[str]]) -> Iterator[None]:
    """Turn a lack of memory into an error that says whose it is and what to change.

    Args:
        device: where the work is done, unless the error itself names another card.
        advice: what may help then, the mildest first.

    Raises:
        DeviceError: the memory does not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
        device = _device_of(error) or device
        left = free_memory(device)
        rest = "" if left is None else f"; {gigabytes(left)} are free"
        raise DeviceError(
            f"the memory of {device} does not suffice{rest}", "; or ".join(advice())
        ) from error


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or torch means that memory was short."""
    text = str(error).lower()
    is_of_torch = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return is_of_torch or any(words in text for words in _NO_MEMORY)


def _device_of(error: BaseException) -> torch.device | None:
    """The card that torch's error names: ``GPU 1 has a total capacity of ...``."""
    found = re.search(r"\bGPU (\d+)\b", str(error))
    return torch.device("cuda", int(found[1])) if found else None


def peak_memory(device: torch.device) -> int:
    """The most memory in use at once so far, in bytes: of a CUDA device, else resident."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resident_peak()


def resident_peak() -> int:
    """The most memory that this process held at once, in bytes.

    Linux's ``VmHWM``: ``ru_maxrss`` starts from that of the parent process.
    """
    if Path("/proc/self/status").exists():
        return _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on a device; None where that cannot be asked."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + unused)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return _free_of_machine()


def peak_growth(device: torch.device, work: Callable[[], None]) -> int | None:
    """Bytes by which the memory in use grows at the most while ``work`` runs.

    Returns:
        None where it cannot be measured: elsewhere than on CUDA or Linux.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return int(torch.cuda.max_memory_allocated(device) - before)
    peak = Path("/proc/self/clear_refs")
    if device.type != "cpu" or not os.access(peak, os.W_OK):
        return None
    peak.write_text("5")  # proc(5): the peak of the resident size becomes the present size
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for what is wanted next.

    Else glibc gives a layer's memory back to the system, which has to clear it for the next layer:
    up to a sixth of a forward pass. Its threshold follows the largest block that was ever freed
    (mallopt(3), M_MMAP_THRESHOLD), so one block is enough, and no page of it is touched.
    """
    torch.empty(_LARGEST_THRESHOLD, dtype=torch.uint8)


def return_freed_memory() -> None:
    """Let the C library give blocks back to the system as soon as they are freed.

    Else glibc keeps those below 32 MiB, with holes between them: half a gigabyte in a step of a
    full-size U-Net at 512 px (tests/measurements/memory.py). The system then clears each new block,
    which is little beside such a network's passes. Other C libraries go on as they do.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _RETURNED_FROM)


def gigabytes(size: int) -> str:
    """``1.5 GB``."""
    return f"{size / 1e9:.1f} GB"


def _free_of_machine() -> int | None:
    if sys.platform != "linux":
        return None
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    amounts = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    try:
        limit = int((_CGROUP / "memory.max").read_text(encoding="ascii"))
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        amounts.append(limit - used)
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        pass
    return min(amounts, default=None)


def _status(key: str) -> int:
    """A size from proc's status of this process, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    return 0
