"""Devices that are missing, full or broken are told apart, and memory is that of the right one."""

import pytest
import torch

from esdctl.erasing.config import TrainConfig
from esdctl.erasing.memory_advice import memory_advice
from esdctl.errors import DeviceError
from esdctl.models import devices, memory
from esdctl.models.devices import find_device
from esdctl.models.memory import memory_errors, peak_memory

TWO_CARDS = ["cpu", "cuda:0", "cuda:1"]


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("cuda:7", RuntimeError("CUDA error: invalid device ordinal"), "no device 'cuda:7' here"),
        ("cuda:9", RuntimeError("CUDA error: whatever"), "no device 'cuda:9' here"),
        ("1", torch.OutOfMemoryError("CUDA out of memory."), "the memory of cuda:1 is full"),
        ("0", RuntimeError("CUDA error: unspecified launch failure\nmore"), "unspecified launch"),
        ("0", RuntimeError("The NVIDIA driver on your system is too old"), "driver on your system"),
    ],
)
def test_what_is_wrong_with_a_card_is_said(
    name: str, error: Exception, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> torch.Tensor:
        raise error

    monkeypatch.setattr(devices, "existing_devices", lambda: TWO_CARDS)
    monkeypatch.setattr(torch, "empty", fail)
    with pytest.raises(DeviceError, match=told) as caught:
        find_device(name, "--devices")
    assert "cpu, cuda:0, cuda:1" in caught.value.hint
    assert "more" not in caught.value.message


def test_the_card_that_ran_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(memory, "free_memory", lambda device: asked.append(str(device)) or 10**9)
    text = "CUDA out of memory. Tried to allocate 2 GiB. GPU 1 has a total capacity of 8 GiB"
    with pytest.raises(DeviceError, match=r"memory of cuda:1 .* 1\.0 GB are free"):  # noqa: SIM117
        with memory_errors(torch.device("cuda", 0), ["use less"]):
            raise torch.OutOfMemoryError(text)
    assert asked == ["cuda:1"]


def test_peak_memory_is_that_of_the_device_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 100 + device.index)
    assert peak_memory(torch.device("cuda", 1)) == 101
    assert peak_memory(torch.device("cpu")) > 10**7


def test_before_a_run_has_begun_nothing_is_advised_to_be_resumed() -> None:
    advice = memory_advice(TrainConfig(concept="x", batch_size=4), None, "fp32", False)
    assert advice[0] == "add --gradient-checkpointing"
    assert not any("resume" in line for line in advice)
