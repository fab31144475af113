"""Pocket-flow's maker: what it learns from, and a folder that diffusers samples as we do."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline, UNet2DConditionModel
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from esdctl.diffusion.ddim import scaled_linear
from esdctl.diffusion.flow import noised
from esdctl.pocket.make_flow import POCKET, make_flow, measure_flow, told_of
from esdctl.pocket.ship_flow import TOKENS
from esdctl.pocket.transformer import sigmas_of, taught_velocity


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pocket-flow after a step or two, on a picture of each cell that was drawn before."""
    folder = tmp_path_factory.mktemp("flow")
    work, rng = folder / "work", np.random.default_rng(0)
    work.mkdir()
    np.save(work / "pictures.npy", np.zeros((260, 128, 128, 3), np.uint8))
    np.save(work / "latents.npy", rng.standard_normal((260, 4, 16, 16), dtype=np.float32))
    make_flow(0.001, work, folder / "made", per_cell=1)
    return folder / "made"


def test_diffusers_is_told_the_same_and_predicts_the_same(made: Path) -> None:
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        made, text_encoder_3=None, tokenizer_3=None
    ).to(torch.float32)
    asked = ["A Dogs image in Mosaic style.", ""]
    theirs, _, pooled, _ = pipeline.encode_prompt(
        asked, asked, None, do_classifier_free_guidance=False, max_sequence_length=TOKENS
    )
    encoder = CLIPTextModelWithProjection.from_pretrained(
        made / "text_encoder_2", dtype=torch.float32
    )
    tokenizer = CLIPTokenizer.from_pretrained(made / "tokenizer_2")
    context, ours = told_of(encoder, tokenizer, asked)
    assert torch.allclose(context, theirs, atol=1e-5)
    assert torch.allclose(ours, pooled, atol=1e-5)
    picture = pipeline(
        asked[0], num_inference_steps=1, output_type="pt", max_sequence_length=TOKENS
    )
    assert picture.images.shape == (1, 3, 128, 128)


def test_a_second_run_trains_no_more(made: Path) -> None:
    weights = made / "transformer" / "diffusion_pytorch_model.safetensors"
    before = weights.read_bytes()
    make_flow(0.001, made.parent / "work", made, per_cell=1)
    assert weights.read_bytes() == before


def test_figures_are_of_every_style_and_object(made: Path) -> None:
    sampled = measure_flow(made, cells=4)["sampled"]
    assert isinstance(sampled, dict)
    assert sampled["pictures"] == 4
    assert 0 <= sampled["style_percent"] <= 100


def test_the_teacher_knows_the_mean_velocity() -> None:
    """Of a grey picture, z - x_0 but for what the noise hides."""
    unet = UNet2DConditionModel.from_pretrained(POCKET / "unet").to(torch.float32)
    sigmas = sigmas_of(scaled_linear())
    assert torch.all(sigmas[1:] > sigmas[:-1])
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.zeros(4, 4, 16, 16)  # a grey picture
    z = torch.randn(x_0.shape, generator=generator)
    sigma = torch.tensor([0.3, 0.5, 0.7, 0.9])
    context = torch.zeros(4, 77, 128)
    found = taught_velocity(unet, sigmas, noised(x_0, z, sigma), sigma, context)
    error = (found - (z - x_0)).square().mean((1, 2, 3))
    assert (error < 0.5).all(), error
