"""What FLUX models are told, and their pictures, against diffusers' own pipelines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load
from esdctl.models.text import encode_prompts
from esdctl.progress import Silent
from esdctl.sampling.defaults import default_guidance
from esdctl.sampling.plan import Picture
from esdctl.sampling.sample import Pixels, sample_in_memory
from tests.checkpoints.tiny_flux_models import tiny_flux

CPU = torch.device("cpu")
SEED, STEPS = 3, 3
WIDTH, HEIGHT = 64, 96
PROMPT = "a dog in Rust style"


def latents(*shape: int) -> torch.Tensor:
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(SEED))


def theirs(pipe: Any, guidance: float, noise: torch.Tensor) -> Pixels:
    pipe.set_progress_bar_config(disable=True)
    made = pipe(
        PROMPT, num_inference_steps=STEPS, guidance_scale=guidance, latents=noise, height=HEIGHT,
        width=WIDTH, output_type="np",
    ).images[0]  # fmt: skip
    pixels: Pixels = (made * 255).round().astype(np.uint8)
    return pixels


def ours(folder: Path, guidance: float) -> Pixels:
    model = load(Pipeline("tiny", folder), CPU)
    picture = Picture("0.png", PROMPT, SEED, guidance, STEPS, WIDTH, HEIGHT)
    return sample_in_memory(model, [picture], Silent())[0]


def largest_difference(one: Pixels, other: Pixels) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize("is_schnell", [False, True])
def test_a_picture_of_flux_1_is_that_of_diffusers(is_schnell: bool, tmp_path: Path) -> None:
    folder = tiny_flux(tmp_path / "model", is_schnell)
    guidance = default_guidance(Pipeline("tiny", folder))
    assert guidance == (1.0 if is_schnell else 3.5)
    packed = FluxPipeline._pack_latents(latents(16, 12, 8), 1, 16, 12, 8)
    expected = theirs(FluxPipeline.from_pretrained(folder), guidance, packed)
    assert np.ptp(expected) > 20
    assert largest_difference(ours(folder, guidance), expected) <= 2


def test_the_guidance_scale_is_an_input_of_flux_1_dev(tmp_path: Path) -> None:
    folder = tiny_flux(tmp_path / "model")
    packed = FluxPipeline._pack_latents(latents(16, 12, 8), 1, 16, 12, 8)
    expected = theirs(FluxPipeline.from_pretrained(folder), 50.0, packed)
    found = ours(folder, 50.0)
    assert largest_difference(found, expected) <= 2
    assert largest_difference(found, ours(folder, 3.5)) > 2


def test_what_flux_1_is_told_is_what_diffusers_tells_it(tmp_path: Path) -> None:
    folder = tiny_flux(tmp_path / "model")
    told, pooled, _ = FluxPipeline.from_pretrained(folder).encode_prompt(PROMPT)
    found = encode_prompts(load(Pipeline("tiny", folder), CPU), [PROMPT])
    torch.testing.assert_close(found.embeddings, told, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.pooled, pooled)
    assert found.guidance.tolist() == [3.5]
