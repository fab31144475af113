"""FID's own encoder: the Inception network of 2015 as torch-fidelity ported it, 2048 features.

torch-fidelity needs torchvision, so neither is part of an extra here. It reads its weights with
torch's unpickler, which could run code, so the file has to have the published digest first.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from esdctl.errors import InputError, IntegrityError
from esdctl.evaluation.encoders.encoder import Encode
from esdctl.progress import Reporter
from esdctl.storage.digest import sha256_file

FILE = Path("fidelity", "inception", "weights-inception-2015-12-05-6726825d.pth")
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
INSTALL = "pip install torch-fidelity (it brings torchvision)"


@dataclass(frozen=True)
class Inception:
    """The file of weights."""

    path: Path
    name: str = "Inception 2015-12-05 of torch-fidelity, 2048 features"
    size: str = "299 x 299"
    resize: str = "bilinear as TensorFlow 1, not antialiased, no crop"

    def digest(self) -> str:
        """sha256 of the weights."""
        return sha256_file(self.path)

    def load(self, device: torch.device, reporter: Reporter) -> Encode:
        """Read the weights.

        Raises:
            InputError: torch-fidelity cannot be imported.
            IntegrityError: the file is another one.
        """
        if self.digest() != SHA256:
            raise IntegrityError(
                f"{self.path} is not what torch-fidelity published", "esdctl verify --repair"
            )
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise InputError(f"torch-fidelity cannot be imported: {error}", INSTALL) from error
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(self.path))
        network = network.to(device)

        @torch.inference_mode()
        def encode(pictures: npt.NDArray[np.uint8]) -> torch.Tensor:
            batch = torch.from_numpy(pictures).permute(0, 3, 1, 2)  # (B, 3, H, W), uint8
            (features,) = network(batch.to(device))
            found: torch.Tensor = features.float().cpu()
            return found

        return encode


def open_inception(models: Path) -> Inception:
    """The downloaded file.

    Args:
        models: the workspace's folder of models.

    Raises:
        InputError: it is not there.
    """
    path = models / FILE
    if not path.is_file():
        raise InputError(f"{path} is not here", "esdctl download inception")
    return Inception(path)
