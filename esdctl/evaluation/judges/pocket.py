"""The pocket model's judge: a small convolutional network with a style head and an object head."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from esdctl.errors import InputError
from esdctl.evaluation.judges.judge import (
    Classify,
    Judge,
    ResizeMode,
    Verdict,
    resized,
    verdicts,
)
from esdctl.models.resolve import Pipeline
from esdctl.progress import Reporter
from esdctl.storage.atomic import write_with
from esdctl.storage.digest import sha256_file

OWN = Path("classifier") / "model.safetensors"  # in a pipeline folder
SIDE = 128  # pixels of the pictures it was trained on


class PocketClassifier(nn.Module):
    """Classifies pictures of the pocket canvas by style and by object.

    Six 3x3 convolutions with group normalisation, four of them of stride 2, then the mean and the
    maximum over space, then one linear head per domain.

    Args:
        styles: names of the style classes, in the order of the logits.
        objects: names of the object classes, in the order of the logits.
    """

    def __init__(self, styles: list[str], objects: list[str]) -> None:
        super().__init__()
        self.styles = styles
        self.objects = objects
        channels = [3, 24, 48, 96, 128, 160, 160]
        strides = [2, 2, 2, 2, 1, 1]
        self.trunk = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, stride, 1), nn.GroupNorm(8, after), nn.SiLU()
                )
                for before, after, stride in zip(channels[:-1], channels[1:], strides, strict=True)
            )
        )
        self.style_head = nn.Linear(2 * channels[-1], len(styles))
        self.object_head = nn.Linear(2 * channels[-1], len(objects))

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """Pictures (B, 3, 128, 128) in -1..1 to features (B, 320)."""
        maps = self.trunk(pictures)  # (B, 160, 8, 8)
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures (B, 3, 128, 128) in -1..1 to style logits (B, S) and object logits (B, O)."""
        features = self.features(pictures)
        return self.style_head(features), self.object_head(features)

    @torch.inference_mode()
    def classify(self, pictures: npt.NDArray[np.uint8]) -> list[Verdict]:
        """Name the style and the object of each picture.

        Args:
            pictures: RGB, (B, H, W, 3), uint8; other sizes than 128 x 128 are resized.

        Returns:
            One verdict a picture.
        """
        sized = np.stack([_resized(picture) for picture in pictures])  # (B, 128, 128, 3)
        batch = torch.from_numpy(sized).permute(0, 3, 1, 2).float() / 127.5 - 1
        features = self.features(batch.to(self.style_head.weight.device))
        style_logits, object_logits = self.style_head(features), self.object_head(features)
        return verdicts(style_logits, object_logits, self.styles, self.objects, features)


@dataclass(frozen=True)
class PocketFile:
    """The classifier's file; ``open_pocket`` has read its class names.

    Args:
        path: the file.
        styles, objects: names of the classes, in the order of the logits.
    """

    path: Path
    styles: list[str]
    objects: list[str]
    name: str = "pocket"
    protocol: str = "pocket"

    def digest(self) -> str:
        """sha256 of the file."""
        return sha256_file(self.path)

    def load(self, device: torch.device, reporter: Reporter) -> Classify:
        """Read the weights; it is so quick that there is nothing to report.

        Raises:
            InputError: the file is damaged.
        """
        return load_classifier(self.path).to(device).classify

    def network(self, device: torch.device, reporter: Reporter) -> "PocketNetwork":
        """Read the weights.

        Raises:
            InputError: the file is damaged.
        """
        return PocketNetwork(load_classifier(self.path).to(device).requires_grad_(False))


@dataclass(frozen=True)
class PocketNetwork:
    """The classifier as a differentiable function of pictures (B, 3, H, W) in 0..1."""

    model: PocketClassifier
    side: int = SIDE
    mode: ResizeMode = "bicubic"

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """Means and maxima of the last maps, (B, 320)."""
        return self.model.features(self._sized(pictures))

    def logits(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Style logits (B, S) and object logits (B, O)."""
        style_logits, object_logits = self.model(self._sized(pictures))
        return style_logits, object_logits

    def _sized(self, pictures: torch.Tensor) -> torch.Tensor:
        return resized(pictures, self.side, self.mode) * 2 - 1  # (B, 3, 128, 128) in -1..1


def open_pocket(path: Path) -> PocketFile:
    """Read a classifier's class names, without its weights.

    Raises:
        InputError: the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = file.metadata() or {}
        return PocketFile(path, json.loads(names["styles"]), json.loads(names["objects"]))
    except Exception as error:  # safetensors raises its own kinds, and OSError
        raise InputError(
            f"cannot read the classifier {path}: {error}", "install esdctl again"
        ) from error


def _find(pipeline: Pipeline, models: Path) -> PocketFile | None:
    own = pipeline.folder / OWN
    return open_pocket(own) if own.is_file() else None


def _missing(pipeline: Pipeline, models: Path) -> InputError:
    return InputError(
        f"{pipeline.name} has no classifier of its own ({pipeline.folder / OWN})",
        "leave --judge out, or name style50",
    )


JUDGE = Judge("pocket", True, _find, _missing)


def save_classifier(model: PocketClassifier, path: Path) -> None:
    """Write weights in fp16 and class names (as JSON metadata) to one safetensors file."""
    tensors = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    names = {"styles": json.dumps(model.styles), "objects": json.dumps(model.objects)}
    write_with(path, lambda beside: save_file(tensors, beside, names))


def load_classifier(path: Path) -> PocketClassifier:
    """Read what ``save_classifier`` wrote, into fp32, in evaluation mode.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = file.metadata() or {}
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
        model = PocketClassifier(json.loads(names["styles"]), json.loads(names["objects"]))
        model.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            f"cannot read the classifier {path}: {error}", "install esdctl again"
        ) from error
    return model.eval()


def _resized(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if picture.shape[:2] == (SIDE, SIDE):
        return picture
    resized = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.uint8)
