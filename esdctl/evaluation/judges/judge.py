"""What a judge of pictures is: the names it knows, the protocol that suits it, and its verdicts.

A new judge is one file in this folder that defines ``JUDGE``, a ``Judge`` whose ``find`` gives a
``Classifier``; ``find.py`` lists them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from esdctl.errors import InputError
from esdctl.evaluation.features import packed_features
from esdctl.models.resolve import Pipeline
from esdctl.progress import Reporter


class Verdict(NamedTuple):
    """What a classifier sees on one picture.

    Args:
        style, object: the likeliest names.
        p_style, p_object: their probabilities.
        features: what the names are read from, as ``packed_features`` has it.
    """

    style: str
    object: str
    p_style: float
    p_object: float
    features: str = ""


# RGB pictures, (B, H, W, 3), of any size, to one verdict each.
Classify = Callable[[npt.NDArray[np.uint8]], list[Verdict]]


ResizeMode = Literal["bilinear", "bicubic"]


class Network(Protocol):
    """A classifier as a differentiable function of its pictures; its own weights are frozen.

    Pictures are (B, 3, H, W) in 0..1, of any size.
    """

    @property
    def side(self) -> int:
        """Of the square that pictures are resized to, in pixels."""
        ...

    @property
    def mode(self) -> ResizeMode:
        """How they are resized, where they have another size."""
        ...

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """What the heads see: (B, F)."""
        ...

    def logits(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Style logits (B, S) and object logits (B, O)."""
        ...


class Classifier(Protocol):
    """A classifier as files: what it can name is known at once, its weights once it is loaded."""

    @property
    def name(self) -> str: ...

    @property
    def styles(self) -> Sequence[str]:
        """In the order of the logits."""
        ...

    @property
    def objects(self) -> Sequence[str]:
        """In the order of the logits."""
        ...

    @property
    def protocol(self) -> str:
        """The protocol that its pictures are made by, where the user names none."""
        ...

    def digest(self) -> str:
        """sha256 that stands for its verdicts."""
        ...

    def load(self, device: torch.device, reporter: Reporter) -> Classify:
        """Read the weights.

        Raises:
            InputError, IntegrityError: a file is damaged.
        """
        ...

    def network(self, device: torch.device, reporter: Reporter) -> Network:
        """Read the weights as a differentiable function, for features and for gradients.

        Raises:
            InputError, IntegrityError: a file is damaged.
        """
        ...


@dataclass(frozen=True)
class Judge:
    """A kind of classifier, and where its files are looked for.

    Args:
        name: what ``--judge`` calls it.
        comes_with_model: whether a model brings it; such judges are asked first.
        find: a model and the workspace's folder of models -> the classifier with its files looked
            at, or None where they are not there. Damaged files are an InputError or IntegrityError.
        missing: the same -> what to tell where it is not there.
    """

    name: str
    comes_with_model: bool
    find: Callable[[Pipeline, Path], Classifier | None]
    missing: Callable[[Pipeline, Path], InputError]


def verdicts(
    style_logits: torch.Tensor,
    object_logits: torch.Tensor,
    styles: Sequence[str],
    objects: Sequence[str],
    features: torch.Tensor,
) -> list[Verdict]:
    """The likeliest names of logits (B, S) and (B, O), with the features (B, F) behind them."""
    p_styles, style_places = style_logits.softmax(1).max(1)  # (B,), (B,)
    p_objects, object_places = object_logits.softmax(1).max(1)
    return [
        Verdict(styles[s], objects[o], p_s, p_o, packed_features(row))
        for s, o, p_s, p_o, row in zip(
            style_places.tolist(),
            object_places.tolist(),
            p_styles.tolist(),
            p_objects.tolist(),
            features.float().cpu().numpy(),
            strict=True,
        )
    ]


@torch.inference_mode()
def features_of(
    network: Network, pictures: npt.NDArray[np.uint8], device: torch.device
) -> torch.Tensor:
    """Features (B, F), on the CPU, of RGB pictures (B, H, W, 3) of any size."""
    batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255  # (B, 3, H, W)
    return network.features(batch.to(device)).cpu()


def resized(pictures: torch.Tensor, side: int, mode: ResizeMode) -> torch.Tensor:
    """Pictures (B, 3, H, W) in 0..1 to (B, 3, side, side), differentiably, without a crop.

    Antialiased as Pillow does it, so that it differs from what a judge sees by rounding, and where
    bicubic overshoots black or white.

    Args:
        pictures: the pictures.
        side: in pixels; pictures of this size are left as they are.
        mode: the filter.
    """
    if pictures.shape[2:] == (side, side):
        return pictures
    sized = F.interpolate(pictures, (side, side), mode=mode, antialias=True)
    return sized.clamp(0, 1)
