"""A step within the backward pass moves each parameter as one after it, gradient by gradient."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from esdctl.erasing.esd.student import Student
from esdctl.erasing.esd.team import Team
from esdctl.erasing.esd.update import Update
from esdctl.models.families.sd1 import FAMILY as SD1
from tests.erasing.families import Case, embeddings_of, sha256


class Layers(torch.nn.Module):
    """Three layers; the first is asked twice in a pass."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(4, 4)
        self.second = torch.nn.Linear(4, 4)
        self.last = torch.nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.last(self.second(self.first(self.first(x)).tanh()).tanh())
        return result.square().mean()


def student_of(layers: Layers, dtype: torch.dtype = torch.float32) -> Student:
    return Student(layers, SD1.denoiser, dict(layers.named_parameters()), {}, dtype)


def updated(is_within: bool) -> tuple[Student, Update]:
    """After four steps."""
    layers = Layers()
    student = student_of(layers)
    update = Update(student, 1e-2, is_within)
    for step in range(4):
        loss = layers(torch.randn(8, 4, generator=torch.Generator().manual_seed(step)))
        assert update(loss).isfinite()
    return student, update


def most_gradients(update: Update, layers: Layers) -> int:
    """How many gradients exist at once, at the most, in a step."""
    most = 0

    def count(_: torch.Tensor) -> None:
        nonlocal most
        most = max(most, sum(p.grad is not None for p in layers.parameters()))

    for parameter in layers.parameters():
        parameter.register_post_accumulate_grad_hook(count)
    update(layers(torch.ones(8, 4)))
    return most


def test_both_ways_end_at_the_same_bits() -> None:
    (one, first), (other, second) = updated(False), updated(True)
    assert sha256(one) == sha256(other) != sha256(student_of(Layers()))
    states = first.optimizer.state_dict(), second.optimizer.state_dict()
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for index, state in states[0]["state"].items():
        for key, value in state.items():
            assert torch.equal(value, states[1]["state"][index][key])


@pytest.mark.parametrize(("is_within", "expected"), [(False, 6), (True, 1)])
def test_within_the_backward_pass_one_gradient_exists_at_once(
    is_within: bool, expected: int
) -> None:
    layers = Layers()
    assert most_gradients(Update(student_of(layers), 1e-2, is_within), layers) == expected
    assert all(parameter.grad is None for parameter in layers.parameters())


def test_fp16_steps_afterwards_because_its_scale_asks_for_all_gradients() -> None:
    layers = Layers()
    update = Update(student_of(layers, torch.float16), 1e-2, is_within=True)
    assert most_gradients(update, layers) == 6


@pytest.mark.parametrize("is_within", [False, True])
def test_a_loss_that_is_not_finite_is_told(is_within: bool) -> None:
    layers = Layers()
    update = Update(student_of(layers), 1e-2, is_within)
    assert not update(layers(torch.full((8, 4), torch.nan))).isfinite()


def test_a_loss_that_fp16_leaves_out_is_told_all_the_same() -> None:
    layers = Layers()
    student = student_of(layers, torch.float16)
    before = sha256(student)
    assert not Update(student, 1e-2, False)(layers(torch.full((8, 4), torch.nan))).isfinite()
    assert sha256(student) == before


@pytest.mark.parametrize("is_within", [False, True])
def test_a_parameter_that_is_no_longer_finite_is_told(is_within: bool) -> None:
    layers = Layers()
    layers.last.weight.register_hook(lambda gradient: gradient * torch.inf)
    update = Update(student_of(layers), 1e-2, is_within)
    assert not update(layers(torch.ones(8, 4))).isfinite()


@pytest.mark.parametrize("is_within", [False, True])
def test_a_team_adds_each_gradient_once(is_within: bool) -> None:
    added: list[torch.Tensor] = []

    class Counting(Team):
        def add(self, tensors: Iterable[torch.Tensor]) -> None:
            added.extend(tensors)

    layers = Layers()
    update = Update(student_of(layers), 1e-2, is_within, Counting(size=2))
    update(layers(torch.ones(8, 4)))
    assert len(added) == len(list(layers.parameters()))


def test_training_with_gradient_checkpointing_ends_where_it_ends_without(
    tiny_model: Path, tmp_path: Path
) -> None:
    embeddings = embeddings_of(tiny_model)
    plain, checkpointed = (
        Case(tiny_model, "full", gradient_checkpointing=flag).one_step(
            embeddings, tmp_path / str(flag)
        )
        for flag in (False, True)
    )
    for name, value in plain.selected.items():
        torch.testing.assert_close(checkpointed.selected[name], value, rtol=1e-4, atol=1e-6)
