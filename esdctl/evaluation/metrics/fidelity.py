"""FID, KID, CLIP score and LPIPS; each figure carries encoder, n, size and resize rule.

Published figures under one name differ by all of these, so none is printed without them.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from esdctl.errors import InputError

SUBSET, SUBSETS = 1000, 100  # of KID, as Binkowski et al. 2018 and torch-fidelity have it
LPIPS_SIDE = 64  # pixels, of ESD's protocol
LPIPS_RESIZE = "bicubic, antialiased, no crop"
INSTALL = "pip install 'esdctl[fidelity]'"


@dataclass(frozen=True)
class FidelityFigure:
    """A measured figure.

    Args:
        name: ``FID``, ``KID``, ``CLIP score`` or ``LPIPS``.
        value: the estimate.
        encoder: what made the features.
        n: pictures (or pairs) that it rests on.
        size: what the encoder sees.
        resize: how pictures of another size come to it.
        n_reference: pictures that they are compared with; None where there are none.
    """

    name: str
    value: float
    encoder: str
    n: int
    size: str
    resize: str
    n_reference: int | None = None


class Described(Protocol):
    """What an ``Encoder`` says of itself."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> str: ...

    @property
    def resize(self) -> str: ...


def frechet_distance(
    features: torch.Tensor, reference: torch.Tensor, encoder: Described
) -> FidelityFigure:
    """FID (Heusel et al. 2017): the Frechet distance of two Gaussians, through torchmetrics.

    It is biased, the more the fewer pictures there are; below as many pictures as features the
    covariances are singular.

    Args:
        features: of the pictures, (N, F).
        reference: of those that they are compared with, (M, F).
        encoder: what made both.

    Raises:
        InputError: fewer than two pictures, other features, NaN, or torchmetrics is missing.
    """
    _check(features, reference)
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
    except ImportError as error:
        raise InputError("FID needs torchmetrics", INSTALL) from error
    metric = FrechetInceptionDistance(feature=_AsTheyAre(features.shape[1]))
    metric.update(reference.double(), real=True)
    metric.update(features.double(), real=False)
    return _figure("FID", float(metric.compute()), encoder, features, reference)


def kernel_distance(
    features: torch.Tensor, reference: torch.Tensor, encoder: Described
) -> FidelityFigure:
    """KID (Binkowski et al. 2018): squared MMD of the kernel (x.y / F + 1)^3, unbiased.

    Of as many pictures on both sides, up to 1,000, all are used at once; else it is the mean of 100
    subsets of at most 1,000, drawn from a fixed seed.

    Args:
        features: of the pictures, (N, F).
        reference: of those that they are compared with, (M, F).
        encoder: what made both.

    Raises:
        InputError: fewer than two pictures, other features, NaN, or torchmetrics is missing.
    """
    _check(features, reference)
    try:
        from torchmetrics.image.kid import KernelInceptionDistance
    except ImportError as error:
        raise InputError("KID needs torchmetrics", INSTALL) from error
    least = min(len(features), len(reference))
    is_whole = len(features) == len(reference) <= SUBSET
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # that all features are kept
        torch.manual_seed(0)
        metric = KernelInceptionDistance(
            feature=_AsTheyAre(features.shape[1]),
            subsets=1 if is_whole else SUBSETS,
            subset_size=min(SUBSET, least),
        )
        metric.update(reference.double(), real=True)
        metric.update(features.double(), real=False)
        mean, _ = metric.compute()
    return _figure("KID", float(mean), encoder, features, reference)


def clip_score(pictures: torch.Tensor, texts: torch.Tensor, encoder: Described) -> FidelityFigure:
    """CLIP score: the mean cosine of each picture's features and its prompt's, -1 to 1.

    Hessel et al. 2021 print 2.5 times as much, torchmetrics 100 times.

    Args:
        pictures: CLIP's features of pictures, (N, F).
        texts: of their prompts, (N, F).
        encoder: what made both.

    Raises:
        InputError: no picture, as many texts as pictures are not there, or NaN.
    """
    if pictures.shape != texts.shape or not len(pictures):
        raise InputError(f"{len(pictures)} pictures have {len(texts)} prompts")
    value = torch.cosine_similarity(pictures.double(), texts.double(), dim=1).mean()
    if not value.isfinite():
        raise InputError(f"{encoder.name} gave features that are not finite")
    return _figure("CLIP score", float(value), encoder, pictures)


def lpips_figure(distances: torch.Tensor, encoder: str, side: int = LPIPS_SIDE) -> FidelityFigure:
    """LPIPS as ESD reports it: the mean over pairs of pictures.

    Args:
        distances: of each pair, (N,).
        encoder: what made them.
        side: that the pictures were resized to, in pixels.

    Raises:
        InputError: no pair.
    """
    if not len(distances):
        raise InputError("LPIPS needs pairs of pictures")
    value = float(distances.double().mean())
    return FidelityFigure("LPIPS", value, encoder, len(distances), f"{side} x {side}", LPIPS_RESIZE)


def lpips_input(pictures: Iterable[npt.NDArray[np.uint8]], side: int = LPIPS_SIDE) -> torch.Tensor:
    """RGB pictures (H, W, 3) to what LPIPS compares: (B, 3, side, side) in -1..1."""
    sized = [
        np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
        for picture in pictures
    ]
    return torch.from_numpy(np.stack(sized)).permute(0, 3, 1, 2).float() / 127.5 - 1


class _AsTheyAre(nn.Module):
    """Stands in torchmetrics where it has an encoder: what comes are features already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def _check(features: torch.Tensor, reference: torch.Tensor) -> None:
    if min(len(features), len(reference)) < 2:
        raise InputError(
            f"{len(features)} pictures against {len(reference)} are too few",
            "give at least two on each side",
        )
    if features.shape[1] != reference.shape[1]:
        raise InputError(
            f"{features.shape[1]} features against {reference.shape[1]}",
            "use one encoder for both",
        )
    if not (features.isfinite().all() and reference.isfinite().all()):
        raise InputError("some features are not finite")


def _figure(
    name: str,
    value: float,
    encoder: Described,
    features: torch.Tensor,
    reference: torch.Tensor | None = None,
) -> FidelityFigure:
    against = None if reference is None else len(reference)
    return FidelityFigure(
        name, value, encoder.name, len(features), encoder.size, encoder.resize, against
    )
