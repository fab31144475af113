"""Pictures that plain diffusers makes from an exported erasure get the figures that ours get."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image

from esdctl.cli.app import run
from esdctl.evaluation.plan import plan_evaluation
from esdctl.evaluation.request import Request
from esdctl.models.resolve import Pipeline

Captured = pytest.CaptureFixture[str]
STEPS = 2


def made_by_diffusers(folder: Path, plan_of: Pipeline, output: Path) -> None:
    """The protocol's pictures, under UnlearnCanvas's names, by diffusers' own pipeline."""
    output.mkdir()
    scheduler = DDIMScheduler.from_pretrained(
        folder, subfolder="scheduler", clip_sample=False, set_alpha_to_one=False
    )
    pipe = StableDiffusionPipeline.from_pretrained(
        folder, scheduler=scheduler, safety_checker=None, low_cpu_mem_usage=False
    )
    pipe.set_progress_bar_config(disable=True)
    for case in plan_evaluation(plan_of, Request(steps=STEPS)).cases:
        picture = case.picture
        shape = (
            1,
            4,
            picture.height // pipe.vae_scale_factor,
            picture.width // pipe.vae_scale_factor,
        )
        latents = torch.randn(shape, generator=torch.Generator().manual_seed(picture.seed))
        pixels = pipe(
            picture.prompt, num_inference_steps=STEPS, guidance_scale=picture.guidance,
            latents=latents, height=picture.height, width=picture.width, output_type="np",
        ).images[0]  # fmt: skip
        Image.fromarray((pixels * 255).round().astype(np.uint8)).save(output / picture.file)


def test_an_exported_folder_sampled_by_diffusers_has_our_figures(
    base: Pipeline, erased: Pipeline, tmp_path: Path, capsys: Captured
) -> None:
    exported = tmp_path / "exported"
    assert run(["export", str(erased.delta), "--to", "diffusers", "-o", str(exported)]) == 0
    made_by_diffusers(exported, erased, tmp_path / "theirs")
    made_by_diffusers(base.folder, erased, tmp_path / "theirs-base")
    capsys.readouterr()
    ours = ["evaluate", "--model", str(erased.delta), "--steps", str(STEPS), "--json", "--quiet"]
    assert run([*ours, "--root", str(tmp_path)]) == 0
    expected = json.loads(capsys.readouterr().out)
    theirs = ["evaluate", "--model", str(base.folder), "--pictures", str(tmp_path / "theirs")]
    theirs += ["--base-pictures", str(tmp_path / "theirs-base"), "--concept", "Neon_Lines"]
    assert run([*theirs, "--root", str(tmp_path), "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    for key in ("unlearning", "base_unlearning", "percent_of_base", "accuracy", "confusion"):
        assert found[key] == expected[key]
