"""A batch that fits, and what is said when the memory does not suffice."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd import batch_size as trials
from esdctl.erasing.esd.student import Student
from esdctl.erasing.memory_advice import memory_advice
from esdctl.erasing.run_folder import RunFolder
from esdctl.errors import DeviceError
from esdctl.models import batch_size
from esdctl.models.memory import free_memory, memory_errors, peak_growth
from esdctl.models.stable_diffusion import StableDiffusion
from tests.erasing.conftest import Train

CPU = torch.device("cpu")


def log(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("free", "a_latent", "expected"),
    [(10_000, 1_000, 8), (5_000, 1_000, 4), (1_000, 10_000, 1), (None, 1_000, 1), (9_000, None, 1)],
)
def test_an_automatic_batch_is_what_fits_and_is_kept_when_resumed(
    free: int | None,
    a_latent: int | None,
    expected: int,
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measured(device: torch.device, work: object) -> int | None:
        return a_latent and a_latent * 1_000_000

    monkeypatch.setattr(batch_size, "free_memory", lambda device: free and free * 1_000_000)
    monkeypatch.setattr(batch_size, "peak_growth", measured)
    monkeypatch.setattr(
        trials, "seconds_of", lambda device, work, enough: 1.0
    )  # the largest is fastest
    quick = ("--iterations", "1", "--no-contact-sheet")
    assert train("--batch-size", "auto", "--output", "run", *quick) == 0
    assert f"batch size: {expected}" in capsys.readouterr().err
    assert RunFolder(tmp_path / "run").chosen_batch_size() == expected
    (tmp_path / "run/delta.safetensors").unlink()
    monkeypatch.setattr(batch_size, "peak_growth", None)  # it must not be asked again
    assert train("--resume", "run") == 0
    assert (tmp_path / "run/delta.safetensors").is_file()


def test_the_trial_of_an_automatic_batch_changes_no_step(train: Train, tmp_path: Path) -> None:
    quick = ("--iterations", "2", "--no-contact-sheet")
    assert train("--batch-size", "auto", "--output", "auto", *quick) == 0
    size = RunFolder(tmp_path / "auto").chosen_batch_size()
    assert train("--batch-size", str(size), "--output", "named", *quick) == 0
    names = ("named", "auto")
    one, other = ([row["loss"] for row in log(tmp_path / name)] for name in names)
    assert one == other


def test_a_lack_of_memory_says_what_to_change_and_the_run_goes_on_from_its_last_save(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train("--output", "unbroken") == 0
    denoise, calls = Student.denoise_frozen, []

    def failing(self: Student, *arguments: object) -> torch.Tensor:
        calls.append(arguments)
        if len(calls) == 4:  # one a step; two steps are saved then
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return denoise(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Student, "denoise_frozen", failing)
    capsys.readouterr()
    assert train("--output", "run") == 6
    told = capsys.readouterr()
    assert told.out == ""
    assert "memory of cpu does not suffice" in told.err
    assert "esdctl train --resume run --gradient-checkpointing" in told.err
    assert "--dtype bf16" in told.err
    assert "--image-size" in told.err
    assert len(calls) == 4
    assert train("--resume", "run", "--gradient-checkpointing") == 0
    same = [row["loss"] for row in log(tmp_path / "unbroken")]
    assert [row["loss"] for row in log(tmp_path / "run")] == pytest.approx(same, rel=1e-4)


def test_a_contact_sheet_that_does_not_fit_leaves_a_run_that_ends_without_one(
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(StableDiffusion, "decode", full)
    assert train("--output", "run", "--iterations", "1", sheet=True) == 6
    told = capsys.readouterr()
    assert told.out == ""
    assert "esdctl train --resume run --no-contact-sheet" in told.err
    assert train("--resume", "run", "--no-contact-sheet") == 0
    assert capsys.readouterr().out == "run\n"


def test_the_advice_names_only_what_is_not_done_yet() -> None:
    run = RunFolder(Path("r"))
    small = TrainConfig(concept="x", gradient_checkpointing=True, image_size=256)
    assert memory_advice(small, run, "bf16", False) == [
        "start another run with --optimizer adam8bit, a smaller --image-size (now 256)"
    ]
    large = TrainConfig(concept="x", batch_size=4)
    assert memory_advice(large, run, "fp32", True) == [
        "go on with: esdctl train --resume r --gradient-checkpointing",
        "go on with: esdctl train --resume r --devices 0,1",
        "start another run with --batch-size 1 (now 4), --dtype bf16 (now fp32), "
        "--optimizer adam8bit, a smaller --image-size (now the model's own)",
    ]


@pytest.mark.parametrize("latents", [1, 8])  # in the trial of one, or in a step of those that fit
def test_an_automatic_batch_that_does_not_fit_is_advised_by_its_number(
    latents: int,
    train: Train,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    denoise = Student.denoise

    def failing(self: Student, x: torch.Tensor, *others: object) -> torch.Tensor:
        if len(x) >= latents:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return denoise(self, x, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(Student, "denoise", failing)
    monkeypatch.setattr(trials, "seconds_of", lambda device, work, enough: 1.0)
    assert train("--batch-size", "auto", "--output", "run") == 6
    told = capsys.readouterr().err
    assert ("--batch-size 8 (auto chose 16)" in told) == (latents == 8)
    assert told.count("--batch-size") == (latents == 8)
    assert "--gradient-checkpointing" in told


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({1: 1.0, 2: 1.5, 4: 2.0, 8: 3.9}, 4),  # 8 gains less than a twentieth a piece
        ({1: 1.0, 2: 2.0, 4: 1.0}, 1),  # what does not gain ends the search
        ({1: 1.0, 2: 1.2, 4: 0.0}, 2),  # 4 does not fit after all
    ],
)
def test_the_fastest_batch_is_the_one_whose_pieces_cost_least(
    seconds: dict[int, float], expected: int
) -> None:
    def measured(size: int) -> float:
        if not seconds[size]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return seconds[size]

    assert batch_size.fastest(list(seconds), measured) == expected


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
    ],
)
def test_every_kind_of_lack_is_a_device_error(error: Exception) -> None:
    with (
        pytest.raises(DeviceError) as caught,
        memory_errors(CPU, lambda: ["use less", "buy more"]),
    ):
        raise error
    assert caught.value.hint == "use less; or buy more"


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="sizes differ"), memory_errors(CPU, list):
        raise RuntimeError("sizes differ")


def test_a_real_lack_on_the_cpu_is_told() -> None:
    with (
        pytest.raises(DeviceError, match="memory of cpu"),
        memory_errors(CPU, lambda: ["use less"]),
    ):
        torch.empty(2**60, dtype=torch.uint8)


def test_memory_is_measured_as_it_grows() -> None:
    def work() -> None:
        torch.ones(50_000_000)  # 200 MB

    grown = peak_growth(CPU, work)
    free = free_memory(CPU)
    if grown is None or free is None:
        pytest.skip("this system does not tell")
    assert 150e6 < grown < 300e6
    assert free > 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps no holes")
def test_what_is_freed_goes_back_to_the_system_at_once() -> None:
    code = """
import torch
from pathlib import Path
from esdctl.models.memory import return_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

return_freed_memory()
for _ in range(2):  # glibc changes its mind when it first sees a large block freed
    blocks = [torch.ones(2**18) for _ in range(200)]  # 1 MiB each
    full = resident()
    del blocks[::2]
    print((full - resident()) / 2**20)
    del blocks
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert all(float(line) > 90 for line in process.stdout.split())
