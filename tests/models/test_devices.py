"""Devices that are missing, full or broken are told apart, and memory is that of the right one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from esdctl.cli.app import run
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.memory_advice import memory_advice
from esdctl.errors import DeviceError
from esdctl.evaluation.judges.pocket import PocketFile
from esdctl.models import devices, memory
from esdctl.models.devices import find_device
from esdctl.models.memory import memory_errors, peak_memory
from esdctl.models.resolve import Pipeline
from esdctl.timing.loading_bench import whole
from esdctl.timing.sampling_bench import our_figures

TWO_CARDS = ["cpu", "cuda:0", "cuda:1"]
FULL = "CUDA out of memory. Tried to allocate 2 GiB. GPU 1 has a total capacity of 8 GiB"
COMMANDS = [
    ["train", "--concept", "Dogs", "--dry-run"],
    ["sample", "--prompt", "a dog", "--dry-run"],
    ["evaluate", "--model", "pocket", "--dry-run"],
    ["bench", "sample"],
    ["bench", "load"],
]
Captured = pytest.CaptureFixture[str]


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
    with pytest.raises(DeviceError, match=r"memory of cuda:1 .* 1\.0 GB are free"):  # noqa: SIM117
        with memory_errors(torch.device("cuda", 0), lambda: ["use less"]):
            raise torch.OutOfMemoryError(FULL)
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


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("device", ["meta", "cpu:1"])
def test_a_device_that_no_machine_has_is_a_usage_error(
    command: list[str], device: str, capsys: Captured
) -> None:
    assert run([*command, "--devices", device]) == 2
    assert f"device '{device}'" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("device", ["hpu", "privateuseone", "ipu"])
def test_a_kind_of_device_that_torch_lacks_is_told_in_a_sentence(
    command: list[str], device: str, capsys: Captured
) -> None:
    assert run([*command, "--devices", device]) == 6
    assert (
        f"error: no device '{device}' here\nhint: this machine has: cpu" in capsys.readouterr().err
    )


def full(*_: object, **__: object) -> object:
    raise torch.OutOfMemoryError(FULL)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory can be asked for of cards that are not here."""
    monkeypatch.setattr(memory, "free_memory", lambda device: 10**9)


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
@pytest.mark.parametrize("part", ["denoiser", "text_encoders"])
def test_sampling_names_the_card_that_ran_out(
    flags: list[str],
    part: str,
    card: None,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    monkeypatch.setattr(f"esdctl.models.stable_diffusion.StableDiffusion.{part}", property(full))
    command = ["sample", "--model", str(tiny_model), "--prompt", "a dog", "--device", "cpu"]
    assert run([*command, "--root", str(tmp_path), *flags]) == 6
    told = capsys.readouterr().err
    assert "the memory of cuda:1 does not suffice; 1.0 GB are free" in told
    assert "make smaller pictures (now 64 x 64)" in told


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
def test_evaluation_names_the_card_that_ran_out_for_the_classifier(
    flags: list[str],
    card: None,
    base: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    monkeypatch.setattr(PocketFile, "load", full)
    command = ["evaluate", "--model", str(base.folder), "--steps", "1", "--device", "cpu"]
    assert run([*command, "--root", str(tmp_path), *flags]) == 6
    assert "the memory of cuda:1 does not suffice" in capsys.readouterr().err


@pytest.mark.parametrize(
    "figures", [lambda *a: our_figures(*a, 1, 1, "cpu"), lambda *a: whole(*a, "cpu")]
)
def test_measuring_names_the_card_that_ran_out(
    figures: Callable[[str, Path], object],
    card: None,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "esdctl.models.stable_diffusion.StableDiffusion.text_encoders", property(full)
    )
    with pytest.raises(DeviceError, match="the memory of cuda:1 does not suffice"):
        figures(str(tiny_model), tmp_path)
