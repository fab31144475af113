"""The target and the loss against the equations, computed by hand."""

import pytest
import torch

from esdctl.diffusion.conditioning import Conditioning
from esdctl.diffusion.ddim import scaled_linear
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.objective import esd_loss, esd_target, retain_loss
from esdctl.erasing.esd.step import Embeddings, Loss, step_loss
from esdctl.erasing.esd.student import Student, new_student
from esdctl.erasing.esd.trajectories.exact import Draw, draw, exact_pairs
from esdctl.erasing.preset import paper_eta
from esdctl.models.families.sd1 import FAMILY as SD1

SHAPE = (1, 4, 8, 8)


def number(value: float) -> torch.Tensor:
    return torch.full(SHAPE, value)


@pytest.mark.parametrize(("eta", "target"), [(0.0, 2.0), (1.0, -1.0), (2.5, -5.5)])
def test_the_target_is_the_papers(eta: float, target: float) -> None:
    # eps*(c) = 5, eps*(0) = 2: 2 - eta (5 - 2)
    assert esd_target(number(2.0), number(5.0), number(2.0), eta).unique().item() == target


def test_the_target_of_erase_from_starts_from_that_prompt() -> None:
    # eps*(f) = 7: 7 - 1 (5 - 2)
    assert esd_target(number(7.0), number(5.0), number(2.0), 1.0).unique().item() == 4.0


def test_the_losses_are_means_over_all_elements() -> None:
    prediction, target = torch.zeros(SHAPE), torch.zeros(SHAPE)
    target[0, 0, 0, 0] = 16.0
    assert esd_loss(prediction, target).item() == 1.0
    assert retain_loss(prediction, target).item() == 1.0


def test_the_authors_eta_is_the_papers_plus_one_without_erase_from() -> None:
    theirs, frozen_c, frozen_0 = 2.0, number(5.0), number(2.0)
    their_target = frozen_c - theirs * (frozen_c - frozen_0)
    ours = esd_target(frozen_0, frozen_c, frozen_0, paper_eta(theirs, erase_from=False))
    torch.testing.assert_close(ours, their_target)
    assert paper_eta(theirs, erase_from=True) == theirs


class TwoWays(torch.nn.Module):
    """A denoiser that is linear in its input and its embeddings; ``gain`` is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.7))
        self.shift = torch.nn.Parameter(torch.tensor(0.1))

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor, return_dict: bool
    ) -> tuple[torch.Tensor]:
        mean = context.mean((1, 2)).view(-1, 1, 1, 1)
        return (self.gain * mean + 0.5 * x + self.shift + t.view(-1, 1, 1, 1) / 1000,)


def row(value: float) -> Conditioning:
    return Conditioning(torch.full((1, 77, 4), value))


def embeddings(retained: int = 0) -> Embeddings:
    return Embeddings(
        prompts=row(3.0),
        erase_from=None,
        retained=row(-2.0) if retained else None,
        empty=row(0.0),
    )


def loss_at(student: Student, embeddings: Embeddings, config: TrainConfig, drawn: Draw) -> Loss:
    pairs = exact_pairs(student, scaled_linear(), embeddings, config, drawn)
    return step_loss(student, pairs, config.negative_guidance)


def test_the_loss_at_step_0_without_negative_guidance_is_the_difference_of_the_predictions() -> (
    None
):
    student = new_student(TwoWays(), SD1.denoiser, ["gain"])
    config = TrainConfig(concept="x", negative_guidance=0.0, ddim_steps=10)
    loss = loss_at(student, embeddings(), config, draw(0, 0, 10, 1, 0, SHAPE))
    # student = frozen: eps(c) - eps*(0) = 0.7 * (3 - 0) everywhere
    assert loss.erase.item() == pytest.approx((0.7 * 3.0) ** 2, rel=1e-5)
    assert loss.retain is None


def test_the_retain_term_is_zero_at_the_start_and_grows_as_the_student_leaves() -> None:
    student = new_student(TwoWays(), SD1.denoiser, ["gain"])
    config = TrainConfig(concept="x", ddim_steps=10, retain_weight=0.5)
    drawn = draw(0, 0, 10, 1, 1, SHAPE)
    first = loss_at(student, embeddings(1), config, drawn)
    assert first.retain is not None
    assert first.retain.item() == 0.0
    with torch.no_grad():
        student.selected["gain"].add_(0.25)
    second = loss_at(student, embeddings(1), config, drawn)
    assert second.retain is not None
    assert second.retain.item() == pytest.approx((0.25 * -2.0) ** 2, rel=1e-4)
    total = second.total(config.retain_weight).item()
    assert total == pytest.approx(second.erase.item() + 0.5 * second.retain.item(), rel=1e-5)


def test_the_frozen_copy_gives_no_gradient_and_keeps_its_values() -> None:
    unet = TwoWays()
    student = new_student(unet, SD1.denoiser, ["gain"])
    x, t, context = torch.zeros(SHAPE), torch.tensor([0]), row(3.0)
    before = student.denoise_frozen(x, t, context)
    with torch.no_grad():
        student.selected["gain"].add_(1.0)
    after = student.denoise_frozen(x, t, context)
    assert torch.equal(before, after)
    assert not after.requires_grad
    assert unet.shift.requires_grad is False
