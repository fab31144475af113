"""Pictures of models trained by flow matching, against diffusers' own pipelines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load
from esdctl.models.text import cut_prompts, encode_prompts
from esdctl.progress import Silent
from esdctl.sampling.plan import Picture
from esdctl.sampling.sample import Pixels, sample_in_memory
from tests.checkpoints.tiny_flow_models import tiny_sd3

CPU = torch.device("cpu")
SEED, STEPS, GUIDANCE = 3, 3, 4.0
PROMPT = "a dog in Rust style"


def theirs(pipe: Any, rows: int) -> Pixels:
    pipe.set_progress_bar_config(disable=True)
    latents = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(SEED))
    made = pipe(
        PROMPT, num_inference_steps=STEPS, guidance_scale=GUIDANCE, latents=latents, height=64,
        width=64, output_type="np", max_sequence_length=rows,
    ).images[0]  # fmt: skip
    pixels: Pixels = (made * 255).round().astype(np.uint8)
    return pixels


@pytest.mark.parametrize("has_t5", [True, False])
@pytest.mark.parametrize("dual", [True, False])
def test_a_picture_of_sd3_is_that_of_diffusers(has_t5: bool, dual: bool, tmp_path: Path) -> None:
    folder = tiny_sd3(tmp_path / "model", has_t5, dual)
    without = {} if has_t5 else {"text_encoder_3": None, "tokenizer_3": None}
    pipe = StableDiffusion3Pipeline.from_pretrained(folder, **without)
    expected = theirs(pipe, 256 if has_t5 else 77).astype(int)  # rows of zeros where T5 is missing
    assert np.ptp(expected) > 20
    model = load(Pipeline("tiny", folder), CPU)
    picture = Picture("0.png", PROMPT, SEED, GUIDANCE, STEPS, 64, 64)
    found = sample_in_memory(model, [picture], Silent())[0].astype(int)
    assert np.abs(found - expected).max() <= 2


def test_what_the_transformer_is_told_is_what_diffusers_tells_it(tmp_path: Path) -> None:
    folder = tiny_sd3(tmp_path / "model")
    pipe = StableDiffusion3Pipeline.from_pretrained(folder)
    told, _, pooled, _ = pipe.encode_prompt(PROMPT, None, None, do_classifier_free_guidance=False)
    ours = encode_prompts(load(Pipeline("tiny", folder), CPU), [PROMPT])
    torch.testing.assert_close(ours.embeddings, told)
    torch.testing.assert_close(ours.pooled, pooled)


def test_a_prompt_is_cut_where_no_encoder_reads_on(tmp_path: Path) -> None:
    for has_t5, longest in ((True, 256), (False, 77)):
        model = load(Pipeline("tiny", tiny_sd3(tmp_path / str(has_t5), has_t5)), CPU)
        prompts = ["dog " * (longest - 10), "dog " * (longest + 10)]
        (note,) = cut_prompts(model, prompts)
        assert f"is cut at {longest}" in note
