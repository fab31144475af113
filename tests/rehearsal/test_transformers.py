"""Transformers on pretended CUDA devices: the figures of the CPU, and no needless wait in bf16."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.checkpoints.tiny_flow_models import tiny_sd3
from tests.checkpoints.tiny_flux2_models import tiny_flux2
from tests.checkpoints.tiny_flux_models import tiny_flux
from tests.rehearsal.conftest import Command
from tests.rehearsal.test_training import delta, losses, train

MODELS: dict[str, Callable[[Path], Path]] = {
    "sd3": tiny_sd3, "flux": tiny_flux, "flux2": tiny_flux2,
}  # fmt: skip
CHOSEN = ("--train-method", "text-attn", "--image-size", "32")


@pytest.mark.parametrize("family", MODELS)
def test_a_transformer_is_erased_as_on_the_cpu(
    family: str, esdctl: Command, tmp_path: Path
) -> None:
    model = MODELS[family](tmp_path / "model")
    for output, devices in (("cpu", "cpu"), ("two", "cuda:0,cuda:1")):
        answer = train(esdctl, model, output, *CHOSEN, "--devices", devices)
        assert answer.status == 0, answer.stderr
    assert all(peak > 0 for peak in answer.peak)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "cpu"), rel=1e-3)
    torch.testing.assert_close(delta(tmp_path / "two"), delta(tmp_path / "cpu"), rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", MODELS)
def test_a_transformer_in_bf16_waits_once_a_step(
    family: str, esdctl: Command, tmp_path: Path
) -> None:
    model = MODELS[family](tmp_path / "model")
    chosen = ("--dtype", "bf16", "--save-every", "100")
    answers = [
        train(esdctl, model, f"{steps}", *CHOSEN, *chosen, "--iterations", f"{steps}")
        for steps in (2, 4)
    ]
    assert [answer.status for answer in answers] == [0, 0], answers[-1].stderr
    assert bool(delta(tmp_path / "4").isfinite().all())
    of_two, of_four = (sum(answer.waits.values()) for answer in answers)
    assert of_four - of_two <= 2
