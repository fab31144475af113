"""What FLUX models are told, and their pictures, against diffusers' own pipelines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinPipeline, FluxPipeline

from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load
from esdctl.models.text import cut_prompts, encode_prompts
from esdctl.progress import Silent
from esdctl.sampling.defaults import default_guidance
from esdctl.sampling.plan import Picture
from esdctl.sampling.sample import Pixels, sample_in_memory
from tests.checkpoints.tiny_flux2_models import tiny_flux2
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
        prompt=PROMPT, num_inference_steps=STEPS, guidance_scale=guidance, latents=noise,
        height=HEIGHT, width=WIDTH, output_type="np",
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


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_picture_of_flux_2_klein_is_that_of_diffusers(guidance: float, tmp_path: Path) -> None:
    folder = tiny_flux2(tmp_path / "model")
    assert default_guidance(Pipeline("tiny", folder)) == 4.0
    pipe = Flux2KleinPipeline.from_pretrained(folder)
    expected = theirs(pipe, guidance, latents(128, 6, 4))
    assert np.ptp(expected) > 20
    assert largest_difference(ours(folder, guidance), expected) <= 2


@pytest.mark.parametrize("is_tied", [True, False])
def test_what_flux_2_klein_is_told_is_what_diffusers_tells_it(
    is_tied: bool, tmp_path: Path
) -> None:
    folder = tiny_flux2(tmp_path / "model", is_tied=is_tied)
    prompts = [PROMPT, "", "a picture of many words " * 30]
    told, _ = Flux2KleinPipeline.from_pretrained(folder).encode_prompt(prompts)
    found = encode_prompts(load(Pipeline("tiny", folder), CPU), prompts)
    torch.testing.assert_close(found.embeddings, told, atol=1e-4, rtol=0)
    assert (told[0] - told[1]).abs().max() > 0.1


def test_pictures_of_flux_2_klein_go_through_its_latents_and_back(tmp_path: Path) -> None:
    model = load(Pipeline("tiny", tiny_flux2(tmp_path / "model")), CPU)
    picture = torch.rand(1, 3, 64, 32, generator=torch.Generator().manual_seed(SEED)) * 2 - 1
    of_vae = model.vae.encode(picture).latent_dist.mode()
    encoded = model.encode(picture)
    assert encoded.shape == (1, model.latent_channels, 4, 2)
    latents = model.family.latents
    torch.testing.assert_close(latents.to_vae(model.vae, encoded), of_vae, atol=1e-5, rtol=0)


def test_the_words_that_a_chat_model_does_not_read_are_told(tmp_path: Path) -> None:
    model = load(Pipeline("tiny", tiny_flux2(tmp_path / "model")), CPU)
    in_front = len(["<|im_start|>", *"user\n"])  # tokens; a letter is one, too
    assert cut_prompts(model, ["x" * 400]) == []
    assert "without 'end'" in cut_prompts(model, ["x" * (512 - in_front) + "end"])[0]
