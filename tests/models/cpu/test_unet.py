"""The U-Net for prediction gives what diffusers' gives, from the same tensors."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.nn import functional as F

from esdctl.diffusion.conditioning import Conditioning
from esdctl.models.cpu.unet import inference_unet
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.models.text import encode_prompts
from tests.checkpoints.tiny_models import FAMILIES, Family, tiny_folder

CPU = torch.device("cpu")
T = torch.tensor([7, 981])


def loaded(family: Family, folder: Path, dtype: torch.dtype = torch.float32) -> StableDiffusion:
    return load(Pipeline("tiny", tiny_folder(family, folder)), CPU, dtype)


@torch.inference_mode()
def predicted(
    unet: UNet2DConditionModel, latents: torch.Tensor, prompts: Conditioning
) -> torch.Tensor:
    named = {}
    if prompts.pooled is not None:
        named = {"text_embeds": prompts.pooled, "time_ids": prompts.time_ids}
    times = T if len(latents) == len(T) else T[0]
    sample: torch.Tensor = unet(latents, times, prompts.embeddings, added_cond_kwargs=named).sample
    return sample


def conditioned(model: StableDiffusion, prompts: list[str]) -> Conditioning:
    """Of unit size: SDXL's embeddings are so large that random attention hangs on the last bit."""
    prompted = encode_prompts(model, prompts)
    size = prompted.embeddings.shape[-1:]
    return replace(prompted, embeddings=F.layer_norm(prompted.embeddings, size))


def noise(seed: int) -> torch.Tensor:
    # where the last level has 1 x 1 places, a group's normalisation magnifies the last bit
    return torch.randn(2, 4, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", FAMILIES)
def test_its_predictions_are_those_of_diffusers(family: Family, tmp_path: Path) -> None:
    model = loaded(family, tmp_path / "model")
    fast = inference_unet(model.denoiser)
    assert fast is not model.denoiser
    for prompts in (["a dog", ""], ["a cat", "rust"]):  # the second pair has keys of its own
        conditions = conditioned(model, prompts)
        for seed in (0, 1):  # the second pass finds the keys of the first
            expected = predicted(model.denoiser, noise(seed), conditions)
            found = predicted(fast, noise(seed), conditions)
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "prompts",
    [
        ["", "", "", "a dog", "a cat", "a dog"],  # as guidance asks for three pictures
        ["", "", "", "a dog", "a dog", "a dog"],
        ["a dog"] * 6,
        ["a dog", "", "", "a cat", "", ""],
    ],
)
def test_rows_that_are_asked_the_same_share_their_keys(
    prompts: list[str], family: Family, tmp_path: Path
) -> None:
    model = loaded(family, tmp_path / "model")
    conditions = conditioned(model, prompts)
    latents = noise(0)[:1].repeat(6, 1, 1, 1)
    latents[2] = latents[5] = noise(1)[0]  # both halves are the same
    expected = predicted(model.denoiser, latents, conditions)
    found = predicted(inference_unet(model.denoiser), latents, conditions)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_it_reads_the_tensors_of_the_first_and_leaves_it_alone(tmp_path: Path) -> None:
    model = loaded("sd1", tmp_path / "model")
    layers = [type(module) for module in model.denoiser.modules()]
    fast = inference_unet(model.denoiser)
    assert [type(module) for module in model.denoiser.modules()] == layers
    places = {p.data_ptr() for p in model.denoiser.parameters()}
    assert {p.data_ptr() for p in fast.parameters()} == places
    conditions = conditioned(model, ["a dog", ""])
    with torch.no_grad():
        model.denoiser.conv_in.weight.mul_(2)
    expected = predicted(model.denoiser, noise(0), conditions)
    torch.testing.assert_close(predicted(fast, noise(0), conditions), expected)


def test_16_bits_are_left_to_diffusers(tmp_path: Path) -> None:
    unet = loaded("sd1", tmp_path / "model", torch.bfloat16).denoiser
    assert inference_unet(unet) is unet
