"""A picture depends on its own row alone, not on the batch around it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.errors import InputError
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.models.text import encode_prompts
from esdctl.progress import Silent
from esdctl.sampling import embeddings
from esdctl.sampling.noise import initial_noise
from esdctl.sampling.plan import Picture, SamplePlan
from esdctl.sampling.sample import Pixels, sample, sample_in_memory


def by_file(
    model: StableDiffusion, pictures: Sequence[Picture], batch_size: int
) -> dict[str, Pixels]:
    batches = sample(model, pictures, batch_size)
    return {picture.file: pixels for batch in batches for picture, pixels in batch}


def largest_difference(one: dict[str, Pixels], other: dict[str, Pixels]) -> int:
    assert one.keys() == other.keys()
    return max(int(np.abs(one[f].astype(int) - other[f].astype(int)).max()) for f in one)


def test_batch_size_and_order_change_no_picture(model: StableDiffusion, plan: SamplePlan) -> None:
    many = [
        replace(picture, file=f"{copy}-{picture.file}", seed=picture.seed + copy)
        for copy in range(2)
        for picture in plan.pictures
    ]
    alone = by_file(model, many, 1)
    assert largest_difference(alone, by_file(model, many, 8)) <= 2
    shuffled = [many[index] for index in np.random.default_rng(0).permutation(len(many))]
    assert largest_difference(alone, by_file(model, shuffled, 32)) <= 2


def test_other_seeds_and_other_prompts_are_other_pictures(
    model: StableDiffusion, plan: SamplePlan
) -> None:
    pixels = by_file(model, plan.pictures, 8)
    assert not np.array_equal(pixels["00000-1.png"], pixels["00000-2.png"])
    assert not np.array_equal(pixels["00000-1.png"], pixels["00003-1.png"])


def test_pictures_have_the_size_of_their_row(model: StableDiffusion, plan: SamplePlan) -> None:
    assert by_file(model, plan.pictures, 8)["00002-1.png"].shape == (64, 32, 3)


def test_each_distinct_prompt_is_encoded_once(
    model: StableDiffusion, plan: SamplePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []

    def encode(model: StableDiffusion, prompts: Sequence[str]) -> Conditioning:
        encoded.extend(prompts)
        return encode_prompts(model, prompts)

    monkeypatch.setattr(embeddings, "encode_prompts", encode)
    by_file(model, plan.pictures[:4], 1)
    assert encoded == ["", "a dog", "a cat in Van Gogh style"]


def test_pictures_in_memory_come_in_the_order_asked(
    model: StableDiffusion, plan: SamplePlan
) -> None:
    asked = [plan.pictures[index] for index in (7, 2, 0, 2)]  # two kinds, one of them twice
    pixels = sample_in_memory(model, asked, Silent())
    assert pixels.shape == (4, 64, 64, 3)
    known = by_file(model, asked, 8)
    assert all(np.array_equal(pixels[i], known[asked[i].file]) for i in range(4))


def test_sampling_leaves_the_global_generator_alone(
    model: StableDiffusion, plan: SamplePlan
) -> None:
    before = torch.random.get_rng_state()
    by_file(model, plan.pictures[:1], 1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_noise_depends_on_its_seed_alone() -> None:
    together = initial_noise([3, 2**63 - 1, 5], (4, 8, 8))
    assert together.dtype == torch.float32
    assert torch.equal(together[1], initial_noise([2**63 - 1], (4, 8, 8))[0])
    assert not torch.equal(together[0], together[2])


def test_a_model_of_nans_is_an_input_error(
    model: StableDiffusion, plan: SamplePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StableDiffusion, "decode", lambda self, latents: latents * torch.nan)
    with pytest.raises(InputError, match="tiny gives numbers that are not finite"):
        by_file(model, plan.pictures, 8)
