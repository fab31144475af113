"""Training on CUDA, as far as it can be told without any: pretended devices, the same figures."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.rehearsal.conftest import Answer, Command

CHECK_FAILED = 1
DEVICE_ERROR = 6


def train(
    esdctl: Command, model: Path, output: str, *arguments: str, fail_at: int = 0, gb: float = 80
) -> Answer:
    settings = {
        "--concept": "Rust", "--model": str(model), "--ddim-steps": "3", "--iterations": "2",
        "--lr": "1e-3", "--save-every": "1", "--preset": "reference", "--dtype": "fp32",
        "--output": output, "--devices": "cuda:0", "--trajectory": "rolling", "--pool-size": "1",
        "--train-method": "xattn",
    }  # fmt: skip
    settings |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    if settings["--trajectory"] == "exact":
        del settings["--pool-size"]
    words = [word for pair in settings.items() for word in pair]
    return esdctl("train", *words, "--no-contact-sheet", gigabytes=gb, fail_at=fail_at)


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


def delta(folder: Path) -> torch.Tensor:
    """All its values as one vector."""
    tensors = load_file(folder / "delta.safetensors")
    return torch.cat([tensors[name].flatten() for name in sorted(tensors)])


@pytest.mark.parametrize(
    ("trajectory", "method"), [("exact", "xattn"), ("frozen", "noxattn"), ("rolling", "full")]
)
def test_each_trajectory_and_method_erases_as_on_the_cpu(
    trajectory: str, method: str, esdctl: Command, tiny_model: Path, tmp_path: Path
) -> None:
    chosen = ("--trajectory", trajectory, "--train-method", method)
    for output, device in (("cpu", "cpu"), ("gpu", "cuda:0")):
        answer = train(esdctl, tiny_model, output, *chosen, "--devices", device)
        assert answer.status == 0, answer.stderr
        assert bool(answer.kernels) == (device == "cuda:0")
    assert losses(tmp_path / "gpu") == pytest.approx(losses(tmp_path / "cpu"), rel=1e-4)
    torch.testing.assert_close(delta(tmp_path / "gpu"), delta(tmp_path / "cpu"), rtol=0, atol=1e-4)


def test_two_devices_and_bf16_train_nearly_as_one_device_and_fp32(
    esdctl: Command, tiny_model: Path, tmp_path: Path
) -> None:
    for output, *others in (
        ("one",), ("two", "--devices", "cuda:0,cuda:1"), ("half", "--dtype", "bf16"),
    ):  # fmt: skip
        answer = train(esdctl, tiny_model, output, *others)
        assert answer.status == 0, answer.stderr
        assert (answer.peak[1] > 0) == (output == "two")
    torch.testing.assert_close(delta(tmp_path / "two"), delta(tmp_path / "one"), rtol=0, atol=1e-4)
    # Before anything moved; Adam makes much of a rounded gradient of random weights.
    first, other = (losses(tmp_path / output)[0] for output in ("one", "half"))
    assert other == pytest.approx(first, rel=0.2)
    assert bool(delta(tmp_path / "half").isfinite().all())
    assert delta(tmp_path / "half").dtype == torch.float32
    casts = answer.kernels["_to_copy"] + answer.kernels["_foreach_copy_"]
    assert casts < sum(answer.kernels.values()) / 50  # autocast's were two in five


def test_a_run_that_lacked_memory_within_a_step_goes_on_to_the_same_bits(
    esdctl: Command, tiny_model: Path, tmp_path: Path
) -> None:
    chosen = ("--dtype", "bf16")
    whole = train(esdctl, tiny_model, "whole", *chosen)
    assert whole.status == 0, whole.stderr
    stopped = train(esdctl, tiny_model, "parts", *chosen, fail_at=sum(whole.kernels.values()) - 300)
    assert stopped.status == DEVICE_ERROR
    assert "the memory of cuda:0 does not suffice" in stopped.stderr
    assert len(losses(tmp_path / "parts")) == 1
    assert esdctl("train", "--resume", "parts", "--no-contact-sheet").status == 0
    assert torch.equal(delta(tmp_path / "parts"), delta(tmp_path / "whole"))


def test_too_little_memory_for_the_model_is_said_so(esdctl: Command, tiny_model: Path) -> None:
    answer = train(esdctl, tiny_model, "run", gb=1e-4)
    assert answer.status == DEVICE_ERROR
    assert "Traceback" not in answer.stderr
    assert "memory" in answer.stderr


ALLOWED = 1  # what the step before told: its loss, its timesteps, and whether all is finite


@pytest.mark.parametrize("trajectory", ["exact", "rolling"])
def test_within_a_step_the_host_waits_only_for_what_the_step_before_told(
    trajectory: str, esdctl: Command, tiny_model: Path
) -> None:
    """Steps 3 and 4: what two runs differ by, of which nothing else differs."""
    chosen = ("--trajectory", trajectory, "--ddim-steps", "4", "--save-every", "100")
    short, long = (
        train(esdctl, tiny_model, steps, *chosen, "--iterations", steps) for steps in ("2", "4")
    )
    assert short.status == long.status == 0, long.stderr
    assert sum(long.waits.values()) - sum(short.waits.values()) == 2 * ALLOWED, long.waits
    assert sum(long.copies.values()) > sum(short.copies.values())  # noise and timesteps


@pytest.mark.parametrize("save_every", ["1", "100"])
def test_a_loss_that_is_not_finite_is_found_before_anything_of_it_is_kept(
    save_every: str, esdctl: Command, tiny_model: Path, tmp_path: Path
) -> None:
    chosen = ("--lr", "1e30", "--iterations", "9", "--save-every", save_every)
    answer = train(esdctl, tiny_model, "run", *chosen)
    assert answer.status == CHECK_FAILED
    assert "the loss is not finite at step" in answer.stderr
    for path in (tmp_path / "run/checkpoints").glob("*"):
        kept = torch.load(path, weights_only=True)["selected"]
        assert all(value.isfinite().all() for value in kept.values())
    assert all(map(math.isfinite, losses(tmp_path / "run")))
    assert not (tmp_path / "run/delta.safetensors").exists()
