"""The memory of pretended devices: what the storages behind their tensors take, up to a limit."""

import os
import threading
import weakref

import torch

BLOCK = 512  # bytes; CUDA's allocator rounds to it
DEVICES = int(os.environ.get("REHEARSAL_DEVICES", "2"))


class Memory:
    """Bytes on each device: now, at the most, and at the most since the cache was emptied.

    ``fail_at`` is the launch that finds no memory, whatever there is; 0 for none.
    """

    def __init__(self) -> None:
        self.fail_at = 0
        self.limit = int(float(os.environ.get("REHEARSAL_GB", "80")) * 1e9)
        self.now, self.peak, self.reserved = ([0] * DEVICES for _ in range(3))
        self._owners: dict[int, tuple[int, int]] = {}  # storage -> device and bytes
        self._lock = threading.RLock()

    def take(self, values: torch.Tensor, index: int) -> None:
        """Count a tensor's storage, once, until it is freed.

        Raises:
            OutOfMemoryError: the device has less.
        """
        storage = values.untyped_storage()
        key, size = storage._cdata, -(-storage.nbytes() // BLOCK) * BLOCK
        with self._lock:
            if key in self._owners:
                return
            if self.now[index] + size > self.limit:
                raise self.error(size, index)
            self._owners[key] = (index, size)
            self.now[index] += size
            self.peak[index] = max(self.peak[index], self.now[index])
            self.reserved[index] = max(self.reserved[index], self.now[index])
        weakref.finalize(storage, self._give, key)

    def error(self, size: int, index: int) -> torch.OutOfMemoryError:
        """In CUDA's words."""
        free = self.limit - self.now[index]
        return torch.OutOfMemoryError(
            f"CUDA out of memory. Tried to allocate {size / 2**20:.2f} MiB. GPU {index} has a "
            f"total capacity of {self.limit / 2**30:.2f} GiB of which {free / 2**20:.2f} MiB is "
            "free."
        )

    def _give(self, key: int) -> None:
        with self._lock:
            index, size = self._owners.pop(key, (0, 0))
            self.now[index] -= size


MEMORY = Memory()
