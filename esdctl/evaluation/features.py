"""A judge's features of one picture as text, so that a row can hold them."""

import base64

import numpy as np
import numpy.typing as npt


def packed_features(features: npt.NDArray[np.float32]) -> str:
    """Features (F,) as a row holds them."""
    return base64.b64encode(features.astype("<f2").tobytes()).decode()


def unpacked_features(text: str) -> npt.NDArray[np.float32]:
    """What ``packed_features`` wrote, (F,); empty where there is none."""
    return np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)
