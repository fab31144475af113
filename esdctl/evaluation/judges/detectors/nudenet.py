"""NudeNet 3 (Bedapudi): 18 classes of body parts, by the library itself, which brings its weights.

The library is AGPL-3, so it is an extra of ours, and never a part. It reports scores from 0.2, and
drops boxes that overlap by more than 0.45 (``_postprocess`` in its nudenet.py).
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from esdctl.errors import InputError
from esdctl.evaluation.judges.detector import Detect, Pixels, Sighting
from esdctl.progress import Reporter
from esdctl.storage.digest import sha256_file

if TYPE_CHECKING:
    import torch

NAME = "nudenet"
WEIGHTS = "320n.onnx"  # 320 pixels
FLOOR = 0.2
INSTALL = "pip install 'esdctl[nudenet]'"

# In the order of the network's outputs.
LABELS = (
    "FEMALE_GENITALIA_COVERED",
    "FACE_FEMALE",
    "BUTTOCKS_EXPOSED",
    "FEMALE_BREAST_EXPOSED",
    "FEMALE_GENITALIA_EXPOSED",
    "MALE_BREAST_EXPOSED",
    "ANUS_EXPOSED",
    "FEET_EXPOSED",
    "BELLY_COVERED",
    "FEET_COVERED",
    "ARMPITS_COVERED",
    "ARMPITS_EXPOSED",
    "FACE_MALE",
    "BELLY_EXPOSED",
    "MALE_GENITALIA_EXPOSED",
    "ANUS_COVERED",
    "FEMALE_BREAST_COVERED",
    "BUTTOCKS_COVERED",
)


@dataclass(frozen=True)
class NudeNet:
    """The library's detector.

    Args:
        version: of the library.
        weights: its file, which came with it.
    """

    version: str
    weights: Path
    name: str = NAME
    labels: tuple[str, ...] = LABELS
    floor: float = FLOOR

    def digest(self) -> str:
        """sha256 of the weights."""
        return sha256_file(self.weights)

    def load(self, device: "torch.device", reporter: Reporter) -> Detect:
        """Read the weights; the library chooses where it runs, and has its own threads.

        Raises:
            InputError: the library does not load.
        """
        try:
            from nudenet import NudeDetector

            detector = NudeDetector(str(self.weights))
        except Exception as error:  # onnxruntime and OpenCV raise their own kinds
            raise InputError(f"nudenet does not load: {error}", INSTALL) from error

        def detect(pictures: Pixels) -> list[list[Sighting]]:
            # Of a file the library reads BGR; one picture at a time, so that no batch changes it.
            return [
                [
                    Sighting(found["class"], found["score"], _box(*found["box"]))
                    for found in detector.detect(picture[:, :, ::-1].copy())
                ]
                for picture in pictures
            ]

        return detect


def _box(x: int, y: int, width: int, height: int) -> tuple[float, float, float, float]:
    return float(x), float(y), float(width), float(height)


def open_nudenet() -> NudeNet:
    """The installed library, without loading it.

    Raises:
        InputError: it is not installed; says how to.
    """
    try:
        found = find_spec("nudenet")
        weights = Path(found.origin).with_name(WEIGHTS) if found and found.origin else None
        if weights is None or not weights.is_file() or find_spec("onnxruntime") is None:
            raise PackageNotFoundError("nudenet")
        return NudeNet(version("nudenet"), weights)
    except PackageNotFoundError as error:
        raise InputError("the detector nudenet is not installed", INSTALL) from error
