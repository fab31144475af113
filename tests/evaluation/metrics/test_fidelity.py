"""FID, KID, CLIP score and LPIPS against closed forms and independent formulas."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from esdctl.errors import InputError
from esdctl.evaluation.metrics.fidelity import (
    clip_score,
    frechet_distance,
    kernel_distance,
    lpips_figure,
    lpips_input,
)


@dataclass(frozen=True)
class Encoder:
    name: str = "pocket judge, 4 features"
    size: str = "128 x 128"
    resize: str = "bicubic"


def gaussian(count: int, mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """Rows whose sample mean and covariance are exactly these."""
    random = torch.Generator().manual_seed(count)
    rows = torch.randn(count, len(mean), generator=random, dtype=torch.float64)
    rows = rows - rows.mean(0)
    factor = torch.linalg.cholesky(torch.cov(rows.T))
    white = torch.linalg.solve_triangular(factor, rows.T, upper=False).T
    shaped: torch.Tensor = white @ torch.linalg.cholesky(covariance).T + mean
    return shaped


def test_fid_of_two_gaussians_is_the_closed_form() -> None:
    one, two = torch.tensor([0.0, 1.0, -2.0, 0.5]), torch.tensor([1.0, 1.0, 0.0, 0.5])
    wide, narrow = torch.tensor([4.0, 9.0, 1.0, 0.25]), torch.tensor([1.0, 4.0, 1.0, 4.0])
    features = gaussian(50, one.double(), wide.diag().double())
    reference = gaussian(70, two.double(), narrow.diag().double())
    figure = frechet_distance(features, reference, Encoder())
    # |m1 - m2|^2 + sum (s1 - s2)^2 = 1 + 4 + (2-1)^2 + (3-2)^2 + 0 + (0.5-2)^2
    assert figure.value == pytest.approx(9.25, abs=1e-6)
    assert (figure.name, figure.encoder, figure.n, figure.n_reference) == (
        "FID", "pocket judge, 4 features", 50, 70,
    )  # fmt: skip
    assert (figure.size, figure.resize) == ("128 x 128", "bicubic")


def test_fid_of_gaussians_that_do_not_commute_takes_the_matrix_root() -> None:
    one = torch.tensor([[2.0, 0.9], [0.9, 1.0]]).double()
    two = torch.tensor([[1.0, -0.6], [-0.6, 3.0]]).double()
    zero = torch.zeros(2).double()
    root = sqrtm(one.numpy() @ two.numpy()).real
    expected = np.trace(one.numpy() + two.numpy() - 2 * root)
    found = frechet_distance(gaussian(40, zero, one), gaussian(40, zero, two), Encoder())
    assert found.value == pytest.approx(expected, abs=1e-6)


def test_fid_of_a_set_with_itself_is_nothing() -> None:
    features = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(features, features, Encoder()).value == pytest.approx(0, abs=1e-4)


def test_kid_is_the_unbiased_mmd_of_the_cubic_kernel() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(12, 5)), random.normal(0.4, 1.2, size=(12, 5))

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((a @ b / 5 + 1) ** 3)

    within = [
        sum(k(s[i], s[j]) for i in range(12) for j in range(12) if i != j) / 132 for s in (x, y)
    ]
    between = sum(k(a, b) for a in x for b in y) / 144
    found = kernel_distance(torch.from_numpy(x), torch.from_numpy(y), Encoder())
    assert found.value == pytest.approx(sum(within) - 2 * between, rel=1e-9)


def test_kid_of_sets_of_two_sizes_is_the_same_each_time() -> None:
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    first = kernel_distance(features[:15], features[15:] + 1, Encoder())
    state = torch.random.get_rng_state()
    again = kernel_distance(features[:15], features[15:] + 1, Encoder())
    assert first == again
    assert torch.equal(state, torch.random.get_rng_state())
    assert first.value > kernel_distance(features[:20], features[20:], Encoder()).value


def test_clip_score_is_the_mean_cosine_by_hand() -> None:
    pictures = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    texts = torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    figure = clip_score(pictures, texts, Encoder())
    assert figure.value == pytest.approx((0.6 + 1.0) / 2)
    assert (figure.name, figure.n, figure.n_reference) == ("CLIP score", 2, None)


def test_lpips_is_the_mean_of_its_pairs() -> None:
    figure = lpips_figure(torch.tensor([0.1, 0.3, 0.2]), "AlexNet")
    assert figure.value == pytest.approx(0.2)
    assert (figure.n, figure.size) == (3, "64 x 64")


def test_lpips_sees_pictures_of_64_pixels_from_minus_one_to_one() -> None:
    black, white = np.zeros((100, 80, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)
    batch = lpips_input([black, white])
    assert batch.shape == (2, 3, 64, 64)
    assert (batch[0] == -1).all()
    assert (batch[1] == 1).all()


@pytest.mark.parametrize("measure", [frechet_distance, kernel_distance])
@pytest.mark.parametrize(
    ("features", "reference", "words"),
    [
        (torch.zeros(1, 4), torch.zeros(5, 4), "too few"),
        (torch.zeros(5, 4), torch.zeros(5, 3), "4 features against 3"),
        (torch.full((5, 4), torch.nan), torch.zeros(5, 4), "not finite"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    measure: object, features: torch.Tensor, reference: torch.Tensor, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        measure(features, reference, Encoder())  # type: ignore[operator]


def test_a_clip_score_needs_a_prompt_for_each_picture() -> None:
    with pytest.raises(InputError, match="2 pictures have 1 prompts"):
        clip_score(torch.ones(2, 4), torch.ones(1, 4), Encoder())
    with pytest.raises(InputError, match="pairs"):
        lpips_figure(torch.zeros(0), "AlexNet")
