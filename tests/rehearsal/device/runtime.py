"""``torch.cuda`` for pretended devices, and the operators' way there; before torch is imported."""

import ctypes
import importlib.util
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.rehearsal.device.build import torch_folder

_KEPT: list[Any] = []  # a torch.library.Library works as long as it lives


def install(library: Path) -> None:
    """Make this process believe in CUDA.

    Args:
        library: backend.cpp, compiled. torch looks for CUDA's hooks once, when it is imported.
    """
    assert "torch" not in sys.modules
    for name in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(torch_folder() / "lib" / name), mode=ctypes.RTLD_GLOBAL)
    backend = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    _register()
    _describe(backend)
    _account()


def import_bitsandbytes() -> bool:
    """Import it as on a machine without CUDA, whose library is not here; False where it is not.

    Its CPU kernels then compute what is behind the pretended tensors.
    """
    import torch

    sys.path.extend(filter(None, [os.environ.get("BITSANDBYTES_FOLDER")]))
    if importlib.util.find_spec("bitsandbytes") is None:
        return False
    cuda: Any = torch.cuda
    believed, cuda.is_available = cuda.is_available, lambda: False
    try:
        importlib.import_module("bitsandbytes")
    finally:
        cuda.is_available = believed
    return True


def environment(**settings: str) -> dict[str, str]:
    """For a process that is to be rehearsed in: REHEARSAL_DEVICES, _GB, _META."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **settings}


def _register() -> None:
    """Operators on CUDA come to ``run``, whichever thread asks."""
    import torch

    from tests.rehearsal.device.cuda_tensor import aten, attention, run

    everything = torch.library.Library("_", "IMPL")
    everything.fallback(lambda func, *args, **kwargs: run(func, args, kwargs), "CUDA")
    of_aten = torch.library.Library("aten", "IMPL")

    def copy_(target: Any, source: Any, non_blocking: bool = False) -> Any:
        return run(aten.copy_.default, (target, source, non_blocking), {})

    def silu_backward(gradient: Any, x: Any) -> Any:
        return run(aten.silu_backward.default, (gradient, x), {})

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        of_aten.impl("silu_backward", silu_backward, "CUDA")  # else torch makes it of others
        of_aten.impl("scaled_dot_product_attention", attention, "AutogradCUDA")
        for form in (
            "default",
            "start",
            "start_step",
        ):  # else it fills what is empty, and resizes it
            arange = getattr(aten.arange, form)
            of_aten.impl(arange.name(), partial(_made, arange), "CUDA")
        of_aten.impl("copy_", copy_, "CUDA")  # torch.tensor(..., device="cuda") comes here
    _KEPT.extend((everything, of_aten))

    # Module.to: a parameter of another class cannot take the place of the data of a plain one.
    apply = torch.nn.Module._apply

    def swapping(self: Any, fn: Callable[..., Any], recurse: bool = True) -> Any:
        with _swapped():
            return apply(self, fn, recurse)

    torch.nn.Module._apply = swapping  # type: ignore[method-assign]


def _made(func: Any, *args: Any, **kwargs: Any) -> Any:
    from tests.rehearsal.device.cuda_tensor import run

    return run(func, args, kwargs)


@contextmanager
def _swapped() -> Iterator[None]:
    import torch

    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


def _describe(backend: ctypes.CDLL) -> None:
    """Devices, their properties and which one is current."""
    import torch

    from tests.rehearsal.device.memory import DEVICES

    class Properties:
        name, major, minor, multi_processor_count = "NVIDIA H100 80GB HBM3", 9, 0, 132
        warp_size, max_threads_per_multi_processor, gcnArchName = 32, 2048, ""  # noqa: N815
        total_memory = int(float(os.environ.get("REHEARSAL_GB", "80")) * 1e9)

    cuda: Any = torch.cuda
    cuda._lazy_init = lambda: None
    cuda._initialized = True
    cuda.is_available = lambda: DEVICES > 0
    cuda.is_initialized = lambda: True
    cuda.device_count = lambda: DEVICES
    cuda.current_device = lambda: backend.rehearsal_current_device()  # hashable, for torch._dynamo
    exchange = cuda._maybe_exchange_device = lambda index: backend.rehearsal_exchange_device(index)
    cuda._exchange_device = exchange
    cuda.set_device = lambda device: backend.rehearsal_exchange_device(_index(device)) and None
    cuda.is_bf16_supported = lambda including_emulation=True: True
    cuda.get_device_name = lambda device=None: Properties.name
    cuda.get_device_properties = lambda device=None: Properties()
    cuda.get_device_capability = lambda device=None: (9, 0)
    cuda.get_arch_list = lambda: ["sm_80", "sm_90"]
    cuda.get_rng_state = lambda device="cuda": torch.get_rng_state()
    cuda.set_rng_state = lambda state, device="cuda": torch.set_rng_state(state)
    cuda.manual_seed = cuda.manual_seed_all = lambda seed: None
    torch._C._cuda_getCurrentRawStream = lambda index: 0  # type: ignore[attr-defined]
    torch.version.cuda = "13.0"
    torch.backends.cuda.is_built = lambda: True


def _index(device: Any = None) -> int:
    import torch

    from tests.rehearsal.device.cuda_tensor import cuda_device

    if isinstance(device, int):
        device = torch.device("cuda", device)
    return cuda_device("cuda" if device is None else device).index


def _account() -> None:
    """Memory, streams and events."""
    import torch

    from tests.rehearsal.device.counts import COUNTS
    from tests.rehearsal.device.memory import MEMORY

    class Event:
        def __init__(self, *unused: Any, **named: Any) -> None:
            self.at = 0.0

        def record(self, *unused: Any) -> None:
            self.at = time.perf_counter()

        def synchronize(self) -> None:
            COUNTS.wait("event")

        def wait(self, *unused: Any) -> None: ...

        def query(self) -> bool:
            return True

        def elapsed_time(self, other: "Event") -> float:
            return 1000 * (other.at - self.at)

    class Stream:
        cuda_stream = stream_id = 0

        def __init__(self, device: Any = None, *unused: Any, **named: Any) -> None:
            self.device = torch.device("cuda", _index(device))

        def __enter__(self) -> "Stream":
            return self

        def __exit__(self, *unused: Any) -> None: ...

        def synchronize(self) -> None:
            COUNTS.wait("stream")

        def wait_stream(self, other: Any) -> None: ...

        def wait_event(self, event: Any) -> None: ...

        def record_event(self, event: Any = None) -> Any:
            return event or Event()

        def query(self) -> bool:
            return True

    def reset_peak(device: Any = None) -> None:
        MEMORY.peak[_index(device)] = MEMORY.now[_index(device)]

    def empty_cache() -> None:
        MEMORY.reserved[:] = MEMORY.now

    def free_and_all(device: Any = None) -> tuple[int, int]:
        return MEMORY.limit - MEMORY.reserved[_index(device)], MEMORY.limit

    cuda: Any = torch.cuda
    cuda.memory_allocated = lambda device=None: MEMORY.now[_index(device)]
    cuda.max_memory_allocated = lambda device=None: MEMORY.peak[_index(device)]
    cuda.memory_reserved = lambda device=None: MEMORY.reserved[_index(device)]
    cuda.max_memory_reserved = cuda.memory_reserved
    cuda.mem_get_info, cuda.empty_cache = free_and_all, empty_cache
    cuda.reset_peak_memory_stats = reset_peak
    cuda.synchronize = lambda device=None: COUNTS.wait("synchronize")
    cuda.Event, cuda.Stream = Event, Stream
    cuda.current_stream = cuda.default_stream = Stream
    cuda.stream = lambda stream: stream
