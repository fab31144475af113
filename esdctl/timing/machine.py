"""What the figures were measured on: processor, memory, accelerators, versions."""

import os
import platform
import sys
from pathlib import Path

import torch

from esdctl.models.memory import free_memory
from esdctl.storage.provenance import collect


def this_machine() -> dict[str, object]:
    """The machine as a JSON document; it names neither host nor user."""
    provenance = collect([])
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "free_memory_bytes": free_memory(torch.device("cpu")),
        "accelerators": [
            {
                "name": torch.cuda.get_device_name(index),
                "memory_bytes": torch.cuda.get_device_properties(index).total_memory,
            }
            for index in range(torch.cuda.device_count())
        ],
        "system": f"{platform.system()} {platform.machine()}",
        "versions": provenance["versions"],
        "time": provenance["time"],
    }


def processor_name() -> str:
    """The processor's name as Linux tells it, else as Python does."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if sys.platform == "linux" else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
