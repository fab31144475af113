"""A judge's own features as an encoder: what its heads see."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from esdctl.evaluation.encoders.encoder import Encode
from esdctl.evaluation.judges.judge import Classifier, Network, features_of
from esdctl.progress import Reporter, Silent


@dataclass
class JudgeEncoder:
    """A classifier, and its network once it was asked for anything that depends on it."""

    classifier: Classifier
    _loaded: tuple[Network, torch.device] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        network, device = self._ready()
        blank = np.zeros((1, network.side, network.side, 3), np.uint8)
        count = features_of(network, blank, device).shape[1]
        return f"{self.classifier.name} judge, {count} features"

    @property
    def size(self) -> str:
        network, _ = self._ready()
        return f"{network.side} x {network.side}"

    @property
    def resize(self) -> str:
        network, _ = self._ready()
        return f"{network.mode}, antialiased, no crop"

    def digest(self) -> str:
        """The classifier's."""
        return self.classifier.digest()

    def load(self, device: torch.device, reporter: Reporter) -> Encode:
        """Read the weights.

        Raises:
            InputError, IntegrityError: a file is damaged.
        """
        network = self.classifier.network(device, reporter)
        self._loaded = network, device

        def encode(pictures: npt.NDArray[np.uint8]) -> torch.Tensor:
            return features_of(network, pictures, device)

        return encode

    def _ready(self) -> tuple[Network, torch.device]:
        if self._loaded is None:
            device = torch.device("cpu")
            self._loaded = self.classifier.network(device, Silent()), device
        return self._loaded
