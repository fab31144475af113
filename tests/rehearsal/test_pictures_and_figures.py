"""What follows training, on pretended CUDA devices: pictures, verdicts, exports, costs."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from esdctl.models.resolve import Pipeline
from tests.rehearsal.conftest import Answer, Command

DEVICE_ERROR = 6
ONE_LEVEL = 1  # of 255; sums in another order round differently


def sample(
    esdctl: Command, model: Path | str, output: str, *arguments: str, device: str = "cuda",
    fail_at: int = 0,
) -> Answer:  # fmt: skip
    words = [
        "sample", "--model", str(model), "--prompt", "a cat", "--prompt", "a dog", "--steps", "2",
        "--image-size", "64", "--output", output, "--device", device, *arguments,
    ]  # fmt: skip
    return esdctl(*words, fail_at=fail_at)


def pictures(folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """(N, H, W, 3)."""
    return np.stack([np.asarray(Image.open(path), int) for path in sorted(folder.glob("*.png"))])


def test_pictures_are_the_cpus_by_as_many_at_once_as_fit(
    esdctl: Command, tiny_model: Path, tmp_path: Path
) -> None:
    on_cpu = sample(esdctl, tiny_model, "cpu", device="cpu")
    on_gpu = sample(esdctl, tiny_model, "gpu", "--dtype", "fp32")
    assert (on_cpu.status, on_gpu.status) == (0, 0), on_gpu.stderr
    assert not on_cpu.kernels
    assert on_gpu.kernels
    moved = np.abs(pictures(tmp_path / "gpu") - pictures(tmp_path / "cpu"))
    assert moved.max() <= ONE_LEVEL
    half = sample(esdctl, tiny_model, "half", "--batch-size", "8")
    assert half.status == 0, half.stderr
    rows = (tmp_path / "half/pictures.jsonl").read_text().splitlines()
    assert {json.loads(row)["dtype"] for row in rows} == {"bf16"}
    # What fits was tried; and autocast would cast more than it saves here.
    assert sum(half.kernels.values()) < sum(on_gpu.kernels.values())


def test_pictures_that_do_not_fit_are_a_device_error_that_says_what_to_change(
    esdctl: Command, tiny_model: Path, tmp_path: Path
) -> None:
    answer = sample(esdctl, tiny_model, "run", "--batch-size", "2", fail_at=400)
    assert answer.status == DEVICE_ERROR
    assert "the memory of cuda:0 does not suffice" in answer.stderr
    assert "make fewer pictures at once (now 2)" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert sample(esdctl, tiny_model, "run", "--batch-size", "1").status == 0
    assert len(list((tmp_path / "run").glob("*.png"))) == 2


def test_verdicts_are_the_cpus(esdctl: Command, erased: Pipeline) -> None:
    words = ["evaluate", "--model", str(erased.delta), "--steps", "2", "--json", "--quiet"]
    answers = [
        esdctl(*words, "--device", device, "--dtype", "fp32", "--output", device)
        for device in ("cpu", "cuda")
    ]
    assert [answer.status for answer in answers] == [0, 0], answers[1].stderr
    one, other = (json.loads(answer.stdout) for answer in answers)
    assert one["unlearning"] == other["unlearning"]
    assert answers[1].kernels


@pytest.mark.parametrize("command", ["train", "bench"])
def test_what_work_costs_is_measured_on_the_device(
    command: str, esdctl: Command, tiny_model: Path
) -> None:
    training = ["--concept", "Rust", "--preset", "reference", "--iterations", "2"]
    words = {
        "train": ["train", *training, "--devices", "cuda", "--dry-run", "--json"],
        "bench": ["bench", "train", *training, "--devices", "cuda", "--json"],
    }[command]
    answer = esdctl(*words, "--model", str(tiny_model), gigabytes=24)
    assert answer.status == 0, answer.stderr
    found = json.loads(answer.stdout)
    if command == "bench":
        assert found["machine"]["device"] == "cuda"
        assert all(case["peak memory, MB"] > 0 for case in found["cases"])
    else:
        assert found["estimate"]["device"] == "cuda"
    assert answer.kernels


def test_what_was_trained_in_bf16_is_exported_and_makes_pictures(
    esdctl: Command, tiny_model: Path, tmp_path: Path
) -> None:
    trained = esdctl(
        "train", "--concept", "Rust", "--model", str(tiny_model), "--preset", "reference",
        "--iterations", "1", "--ddim-steps", "2", "--lr", "1e-2", "--output", "run",
        "--devices", "cuda", "--no-contact-sheet",
    )  # fmt: skip
    assert trained.status == 0, trained.stderr
    exported = esdctl("export", "run", "--to", "diffusers", "--output", "whole")
    assert exported.status == 0, exported.stderr
    for model, output in (("run", "by delta"), ("whole", "by folder")):
        answer = sample(esdctl, model, output, "--batch-size", "2")
        assert answer.status == 0, answer.stderr
    assert np.array_equal(pictures(tmp_path / "by delta"), pictures(tmp_path / "by folder"))
