"""A search for tokens, and an attack on latents, from end to end on SD 2.x (v) and XL."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from esdctl.attacks.target import Target
from esdctl.models.stable_diffusion import load
from tests.attacks_on_erasures.targets import attack, target_of
from tests.checkpoints.tiny_models import Family, tiny_folder
from tests.erasing.families import pipeline

SIDE = 64  # of the tiny models' pictures, in pixels
FAST: dict[str, dict[str, int | float]] = {
    "p4d-k": {"iterations": 2, "evaluated_every": 2},
    "classifier-guidance": {"gradient_steps": 1},
}


def tiny_target(family: Family, folder: Path) -> Target:
    """A model of random weights, judged by the embedded model's classifier; two cases."""
    model = load(pipeline(tiny_folder(family, folder / family)), torch.device("cpu"))
    return replace(
        target_of(folder, n=2, steps=2), model=model, base=lambda: model, side=SIDE, guidance=5.0
    )


@pytest.mark.parametrize("family", ["sd2-v", "sdxl"])
def test_attacks_run_from_end_to_end(family: Family, tmp_path: Path) -> None:
    target = tiny_target(family, tmp_path)
    plain = target.sampled([c.prompt for c in target.cases], [c.seed for c in target.cases])
    for name, settings in FAST.items():
        attempts = attack(name, target, settings)
        assert [attempt.case for attempt in attempts] == list(target.cases)
        for attempt, before in zip(attempts, plain, strict=True):
            assert attempt.picture is not None
            assert attempt.picture.shape == (SIDE, SIDE, 3)
            assert not np.array_equal(attempt.picture, before)


@pytest.mark.parametrize("family", ["sd2-v", "sdxl"])
def test_guidance_moves_a_picture_towards_what_the_judge_looks_for(
    family: Family, tmp_path: Path
) -> None:
    target = tiny_target(family, tmp_path)
    settings = {"gradient_steps": 1, "until": 0}
    without = attack("classifier-guidance", target, {**settings, "scale": 0})
    guided = attack("classifier-guidance", target, {**settings, "scale": 3})
    assert sum(each.score for each in guided) > sum(each.score for each in without)
