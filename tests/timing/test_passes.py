"""The passes that a training makes are counted without making them."""

import pytest
import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.diffusion.ddim import scaled_linear
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.step import Embeddings
from esdctl.erasing.esd.trajectories.exact import draw
from esdctl.timing.passes import Pass, Passes, count_passes

SHAPE = (4, 4, 8, 8)


def row() -> Conditioning:
    return Conditioning(torch.zeros(1, 77, 16))


def counted(config: TrainConfig, retained: Conditioning | None = None) -> Passes:
    return count_passes(scaled_linear(), Embeddings(row(), None, retained, row()), config, SHAPE)


def config(trajectory: str, **more: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {"concept": "Rust", "trajectory": trajectory, "ddim_steps": 5, "iterations": 20, **more}
    )


def test_an_exact_step_samples_with_the_student_then_asks_the_frozen_copy_then_trains() -> None:
    found = counted(config("exact"))
    guided = [4 - draw(0, step, 5, 1, 0, SHAPE).bin for step in range(20)]
    assert found.counts == {
        Pass(4, True): 1.0,
        Pass(8, False): sum(guided) / 20 + 1,
    }
    assert found.forwards_a_pair == pytest.approx(2 * sum(guided) / 20 + 2 + 3)


def test_a_frozen_pair_costs_at_most_two_forwards_and_a_trained_one() -> None:
    whole = config("frozen", pool_size=8, iterations=200, pool_uses=40)
    assert 4.5 < counted(config("frozen", pool_size=8)).forwards_a_pair <= 2 + 3
    assert counted(whole).forwards_a_pair == pytest.approx(3 + 2 / 20)  # what nobody takes is free


def test_a_pool_that_is_used_twice_costs_half() -> None:
    found = counted(config("frozen", pool_size=8, pool_uses=2))
    assert 3.8 < found.forwards_a_pair <= 1 + 3


def test_a_rolling_pair_costs_three_forwards_and_a_trained_one() -> None:
    found = counted(config("rolling", iterations=200))
    assert found.forwards_a_pair == pytest.approx(3 + 3, abs=0.2)


@pytest.mark.parametrize("trajectory", ["exact", "frozen", "rolling"])
def test_what_is_retained_costs_a_frozen_forward_and_a_trained_one(trajectory: str) -> None:
    without, kept = counted(config(trajectory)), counted(config(trajectory), row())
    assert kept.forwards_a_pair - without.forwards_a_pair == pytest.approx(1 + 3)
