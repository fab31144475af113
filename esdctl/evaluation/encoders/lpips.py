"""LPIPS (Zhang et al. 2018) with AlexNet: how differently two pictures look, from their features.

The features are torchvision's AlexNet (a file that ``esdctl download alexnet`` fetches); the
weights of its channels, LPIPS version 0.1, come with torchmetrics. torchvision is not needed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from esdctl.checkpoints.tensor_file import open_tensors
from esdctl.errors import InputError
from esdctl.evaluation.judges.detector import read_picture
from esdctl.evaluation.metrics.fidelity import lpips_input
from esdctl.progress import Reporter
from esdctl.storage.digest import sha256_files

FILE = Path("fidelity", "alexnet", "alexnet-owt-7be5be79.pth")
HEADS = Path("functional", "image", "lpips_models", "alex.pth")  # in torchmetrics
INSTALL = "pip install 'esdctl[fidelity]'"

# ImageNet's mean and deviation for pictures in -1..1, in LPIPS's own rounding.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPSILON = 1e-8  # under the root of a feature's length, as torchmetrics has it

# Pairs of pictures (B, 3, H, W) in -1..1 to distances (B,).
Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class AlexNetFeatures(nn.Module):
    """The five stages of torchvision's AlexNet (Krizhevsky 2014), each after its ReLU."""

    def __init__(self) -> None:
        super().__init__()
        layers = {
            0: nn.Conv2d(3, 64, 11, 4, 2),
            3: nn.Conv2d(64, 192, 5, padding=2),
            6: nn.Conv2d(192, 384, 3, padding=1),
            8: nn.Conv2d(384, 256, 3, padding=1),
            10: nn.Conv2d(256, 256, 3, padding=1),
        }  # by torchvision's numbers
        self.features = nn.ModuleDict({str(place): layer for place, layer in layers.items()})

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Pictures (B, 3, H, W) to maps (B, C, h, w) with C = 64, 192, 384, 256, 256."""
        maps = []
        for place, layer in self.features.items():
            if place in ("3", "6"):
                pictures = F.max_pool2d(pictures, 3, 2)
            pictures = layer(pictures).relu()
            maps.append(pictures)
        return maps


@dataclass(frozen=True)
class Lpips:
    """The two files.

    Args:
        alexnet: torchvision's, a state dict.
        heads: a weight a channel, by stage.
    """

    alexnet: Path
    heads: Path
    name: str = "AlexNet, LPIPS 0.1"

    def digest(self) -> str:
        """sha256 over both files."""
        return sha256_files({"alexnet": self.alexnet, "heads": self.heads})

    def load(self, device: torch.device, reporter: Reporter) -> Distance:
        """Read both.

        Raises:
            InputError: a file has another structure.
            IntegrityError: a file is damaged, or would run code.
        """
        model = AlexNetFeatures()
        file = open_tensors(self.alexnet, reporter)
        try:
            model.load_state_dict({name: file.read(name) for name in model.state_dict()})
            # The library's own file, of plain tensors, in torch's reader that runs nothing.
            stored = torch.load(self.heads, map_location=device, weights_only=True)
            heads = [stored[f"lin{stage}.model.1.weight"] for stage in range(5)]  # (1, C, 1, 1)
        except (KeyError, RuntimeError) as error:
            raise InputError(f"{self.alexnet} or {self.heads} is no AlexNet: {error}") from error
        model = model.to(device).eval()
        shift, scale = (torch.tensor(each, device=device)[:, None, None] for each in (SHIFT, SCALE))

        @torch.inference_mode()
        def distance(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            both = (torch.cat([left, right]).to(device) - shift) / scale
            total = torch.zeros(len(left), device=device)
            for maps, weights in zip(model(both), heads, strict=True):
                of_one = maps * (maps.square().sum(1, keepdim=True) + EPSILON).rsqrt()
                apart = (of_one[: len(left)] - of_one[len(left) :]).square()  # (B, C, h, w)
                total += (apart * weights).sum(1).mean((1, 2))
            return total.cpu()

        return distance


def distances_of_files(
    lpips: Lpips,
    pairs: Sequence[tuple[Path, Path]],
    device: torch.device,
    reporter: Reporter,
    batch: int = 32,
) -> torch.Tensor:
    """Distances (N,) of stored pictures, such as a prompt's before and after on the same noise.

    Args:
        lpips: the files.
        pairs: of pictures, of any sizes; each is resized to 64 pixels, as ESD has it.
        device: where to compute.
        reporter: told of each batch.
        batch: at most so many pairs at once.

    Raises:
        InputError: a file is no picture; or as ``Lpips.load``.
        IntegrityError: as ``Lpips.load``.
    """
    task = "LPIPS"
    distance = lpips.load(device, reporter)
    reporter.started(task, len(pairs), "pairs")
    found = []
    for start in range(0, len(pairs), batch):
        some = pairs[start : start + batch]
        left, right = (
            lpips_input(read_picture(pair[side]) for pair in some).to(device) for side in (0, 1)
        )
        found.append(distance(left, right))
        reporter.advanced(task, start + len(some))
    reporter.finished(task)
    return torch.cat(found) if found else torch.zeros(0)


def open_lpips(models: Path) -> Lpips:
    """The downloaded AlexNet and torchmetrics' heads.

    Args:
        models: the workspace's folder of models.

    Raises:
        InputError: one of them is not here; says how to get it.
    """
    alexnet = models / FILE
    if not alexnet.is_file():
        raise InputError(f"{alexnet} is not here", "esdctl download alexnet")
    package = find_spec("torchmetrics")
    heads = Path(package.origin).parent / HEADS if package and package.origin else None
    if heads is None or not heads.is_file():
        raise InputError("LPIPS needs torchmetrics, which brings its weights", INSTALL)
    return Lpips(alexnet, heads)
