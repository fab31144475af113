"""``train --offload`` and ``--quantize-frozen`` on CUDA, as far as it can be told without any."""

from pathlib import Path

import pytest
import torch

from tests.checkpoints.tiny_flux_models import tiny_flux
from tests.rehearsal.conftest import Answer, Command
from tests.rehearsal.test_training import DEVICE_ERROR, delta, losses

HEADS = 24  # of a transformer that takes more memory than its text encoders: 70 MB in fp32


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_flux(tmp_path_factory.mktemp("base") / "flux", heads=HEADS)


def train(esdctl: Command, model: Path, output: str, *more: str, gb: float = 80) -> Answer:
    settings = [
        "--concept", "Rust", "--model", str(model), "--iterations", "1", "--ddim-steps", "2",
        "--lr", "1e-3", "--batch-size", "1", "--image-size", "32", "--no-contact-sheet",
        "--output", output,
    ]  # fmt: skip
    where = () if "--devices" in more else ("--devices", "cuda:0")
    return esdctl("train", *settings, *where, *more, gigabytes=gb)


@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_it_trains_to_the_same_bits_in_less_memory_and_waits_no_more(
    dtype: str, esdctl: Command, flux: Path, tmp_path: Path
) -> None:
    whole = train(esdctl, flux, "whole", "--dtype", dtype)
    assert whole.status == 0, whole.stderr
    less = train(esdctl, flux, "less", "--dtype", dtype, "--offload")
    assert less.status == 0, less.stderr
    assert torch.equal(delta(tmp_path / "whole"), delta(tmp_path / "less"))
    assert less.peak[0] < 0.6 * whole.peak[0]
    assert sum(less.waits.values()) <= sum(whole.waits.values())  # the copies are asynchronous
    assert any("frozen_layers" in line for line in less.copies)


def test_a_run_that_lacked_memory_goes_on_with_it(
    esdctl: Command, flux: Path, tmp_path: Path
) -> None:
    answer = train(esdctl, flux, "run", "--dtype", "fp32", gb=0.07)
    assert answer.status == DEVICE_ERROR
    assert "esdctl train --resume run --offload" in answer.stderr.replace(f"{tmp_path}/", "")
    line = ("train", "--resume", "run", "--offload", "--no-contact-sheet")
    answer = esdctl(*line, gigabytes=0.07)
    assert answer.status == 0, answer.stderr
    assert (tmp_path / "run/delta.safetensors").is_file()


@pytest.mark.usefixtures("bitsandbytes")
@pytest.mark.parametrize("more", [(), ("--offload",)])
def test_quantised_layers_train_in_less_memory_with_the_figures_of_the_cpu(
    more: tuple[str, ...], esdctl: Command, flux: Path, tmp_path: Path
) -> None:
    chosen = ("--dtype", "fp32", "--quantize-frozen", "int8", *more)
    whole = train(esdctl, flux, "whole", "--dtype", "fp32")
    gpu = train(esdctl, flux, "gpu", *chosen)
    cpu = train(esdctl, flux, "cpu", *chosen, "--devices", "cpu")
    assert [each.status for each in (whole, gpu, cpu)] == [0, 0, 0], gpu.stderr
    assert gpu.peak[0] < 0.7 * whole.peak[0]
    torch.testing.assert_close(delta(tmp_path / "gpu"), delta(tmp_path / "cpu"), rtol=0, atol=1e-4)
    assert losses(tmp_path / "gpu") != losses(tmp_path / "whole")
