"""Pictures of every family, in either layout, against diffusers' own pipelines."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline

from esdctl.checkpoints.changes.export import write_compvis
from esdctl.checkpoints.layouts.model_files import open_model
from esdctl.errors import DeviceError
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.progress import Silent
from esdctl.sampling.plan import Picture
from esdctl.sampling.sample import Pixels, sample_in_memory
from tests.checkpoints.tiny_models import FAMILIES, Family, tiny_folder

CPU = torch.device("cpu")
SEED, STEPS, GUIDANCE = 3, 2, 4.0  # random weights soon magnify the last bit
PROMPT = "a dog in Van Gogh style"


def theirs(family: Family, folder: Path) -> Pixels:
    """The picture of diffusers' pipeline, DDIM as Stable Diffusion has it."""
    cls = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    more = {"add_watermarker": False} if family == "sdxl" else {"safety_checker": None}
    scheduler = DDIMScheduler.from_pretrained(
        folder, subfolder="scheduler", clip_sample=False, set_alpha_to_one=False
    )
    pipe = cls.from_pretrained(folder, scheduler=scheduler, low_cpu_mem_usage=False, **more)
    pipe.set_progress_bar_config(disable=True)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(SEED))
    made = pipe(
        PROMPT, num_inference_steps=STEPS, guidance_scale=GUIDANCE, latents=latents,
        output_type="np",
    ).images[0]  # fmt: skip
    pixels: Pixels = (made * 255).round().astype(np.uint8)
    return pixels


def ours(model: StableDiffusion) -> Pixels:
    picture = Picture("0.png", PROMPT, SEED, GUIDANCE, STEPS, 64, 64)
    pixels: Pixels = sample_in_memory(model, [picture], Silent())[0]
    return pixels


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_is_that_of_diffusers_in_either_layout(family: Family, tmp_path: Path) -> None:
    folder = tiny_folder(family, tmp_path / "model")
    files = open_model(folder)
    checkpoint = tmp_path / "model.safetensors"
    write_compvis(checkpoint, {p: files.read(p) for p in files.parts}, files.architecture)
    expected = theirs(family, folder).astype(int)
    assert np.ptp(expected) > 20
    for path in (folder, checkpoint):
        model = load(Pipeline("tiny", path), CPU)
        assert np.abs(ours(model).astype(int) - expected).max() <= 2


def test_a_picture_in_16_bits_is_nearly_the_same(tmp_path: Path) -> None:
    pipeline = Pipeline("tiny", tiny_folder("sd1", tmp_path / "model"))
    exact, near = (ours(load(pipeline, CPU, dtype)) for dtype in (torch.float32, torch.bfloat16))
    assert np.abs(exact.astype(int) - near.astype(int)).mean() < 3


def test_a_lack_of_memory_says_what_helps_and_names_no_option_of_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(StableDiffusion, "decode", fail)
    with pytest.raises(DeviceError) as caught:
        ours(load(Pipeline("tiny", tiny_folder("sd1", tmp_path / "model")), CPU))
    assert caught.value.hint == "make smaller pictures (now 64 x 64)"
