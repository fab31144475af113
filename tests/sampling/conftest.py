"""The tiny model in memory, and a plan for it."""

from pathlib import Path

import pytest
import torch

from esdctl.datasets.prompt_row import PromptRow
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.sampling.plan import SamplePlan, SamplingSettings, plan_pictures

ROWS = [
    PromptRow("a dog"),
    PromptRow("a cat in Van Gogh style", guidance=1.0),
    PromptRow("a dog", width=32, height=64),
    PromptRow(""),
]


@pytest.fixture(scope="session")
def model(tiny_model: Path) -> StableDiffusion:
    return load(Pipeline("tiny", tiny_model), torch.device("cpu"))


@pytest.fixture(scope="session")
def plan(tiny_model: Path) -> SamplePlan:
    """Eight pictures of three kinds: by guidance and by size."""
    return plan_pictures(
        Pipeline("tiny", tiny_model), ROWS, SamplingSettings(seeds=(1, 2), steps=4)
    )
