"""What each family's U-Net is told of a prompt, against diffusers' own pipelines."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from esdctl.diffusion.conditioning import Conditioning
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.models.text import encode_prompts
from tests.checkpoints.tiny_models import tiny_folder

CPU = torch.device("cpu")
PROMPTS = ["a dog in Van Gogh style", "x " * 100, "a"]


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("sdxl", tmp_path_factory.mktemp("sdxl") / "model")


def close(ours: torch.Tensor | None, theirs: torch.Tensor) -> None:
    assert ours is not None
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_sd_1_and_2_take_the_last_hidden_state(family: str, tmp_path: Path) -> None:
    folder = tiny_folder(family, tmp_path / "model")  # type: ignore[arg-type]
    pipe = StableDiffusionPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
    ours = encode_prompts(load(Pipeline("tiny", folder), CPU), [*PROMPTS, ""])
    for index, prompt in enumerate([*PROMPTS, ""]):
        close(ours[index].embeddings, pipe.encode_prompt(prompt, CPU, 1, False)[0])
    assert ours.pooled is None
    assert ours.time_ids is None


def test_sdxl_takes_both_encoders_the_pooled_prompt_and_the_size(sdxl: Path) -> None:
    pipe = StableDiffusionXLPipeline.from_pretrained(sdxl, low_cpu_mem_usage=False)
    ours = encode_prompts(load(Pipeline("tiny", sdxl), CPU), PROMPTS)
    for index, prompt in enumerate(PROMPTS):
        embeddings, _, pooled, _ = pipe.encode_prompt(
            prompt, device=CPU, do_classifier_free_guidance=False
        )
        close(ours[index].embeddings, embeddings)
        close(ours[index].pooled, pooled)
    assert ours.time_ids is not None
    assert ours.time_ids.tolist() == [[64, 64, 0, 0, 64, 64]] * 3


@pytest.mark.parametrize("zeros", [True, False])
def test_the_empty_prompt_of_sdxl_is_zeros_where_the_model_says_so(
    zeros: bool, sdxl: Path, tmp_path: Path
) -> None:
    pipe = StableDiffusionXLPipeline.from_pretrained(sdxl, low_cpu_mem_usage=False)
    pipe.register_to_config(force_zeros_for_empty_prompt=zeros)
    _, negative, _, pooled = pipe.encode_prompt("a", device=CPU, negative_prompt=None)
    model = load(Pipeline("tiny", sdxl), CPU)
    model.empty_is_zero = zeros
    ours = encode_prompts(model, ["a", ""])
    close(ours[1].embeddings, negative)
    close(ours[1].pooled, pooled)


def test_rows_are_taken_repeated_and_joined() -> None:
    both = Conditioning(torch.rand(2, 77, 4), torch.rand(2, 5), torch.zeros(2, 6)).for_size(64, 32)
    again = both[1].expand(3)
    assert len(again) == 3
    assert again.pooled is not None
    assert both.pooled is not None
    assert torch.equal(again.pooled[2], both.pooled[1])
    assert [row.embeddings.shape for row in both] == [(1, 77, 4)] * 2
    assert both.time_ids is not None
    assert both.time_ids[0].tolist() == [64, 32, 0, 0, 64, 32]


def test_encoders_are_loaded_when_needed_and_leave_when_dropped(sdxl: Path) -> None:
    model = load(Pipeline("tiny", sdxl), CPU)
    first = encode_prompts(model, ["a"])
    assert loaded(model) == {"text_encoders"}
    model.drop("text_encoders")
    assert loaded(model) == set()
    assert torch.equal(encode_prompts(model, ["a"]).embeddings, first.embeddings)


def loaded(model: StableDiffusion) -> set[str]:
    return vars(model).keys() & {"denoiser", "vae", "text_encoders"}
