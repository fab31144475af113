"""Trains the pocket judge on drawn pictures, sharp and as the autoencoder gives them back."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from esdctl.evaluation.judges.pocket import PocketClassifier
from esdctl.pocket.autoencoder import to_tensor
from esdctl.pocket.stage import Stage, run_stage

BATCH = 64


def train_classifier(
    sharp: npt.NDArray[np.uint8],
    decoded: npt.NDArray[np.uint8],
    styles: npt.NDArray[np.int64],
    objects: npt.NDArray[np.int64],
    names: tuple[list[str], list[str]],
    work: Path,
    minutes: float,
) -> PocketClassifier:
    """Train both heads together with cross-entropy.

    Args:
        sharp: drawn pictures, (N, 128, 128, 3).
        decoded: the same pictures through the autoencoder, (N, 128, 128, 3).
        styles, objects: class indices, (N,).
        names: style and object names in the order of the indices.
        work: folder of the checkpoint.
        minutes: time budget.
    """
    torch.manual_seed(2)
    model = PocketClassifier(*names)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05, fused=True)

    def loss_at(step: int) -> torch.Tensor:
        rng = np.random.default_rng([2, step])
        picks = rng.integers(0, len(sharp), BATCH)
        half = BATCH // 2
        first, second = np.sort(picks[:half]), np.sort(picks[half:])
        pictures = to_tensor(np.concatenate([sharp[first], decoded[second]]))
        order = np.concatenate([first, second])
        shift = tuple(int(d) for d in rng.integers(-4, 5, 2))
        pictures = torch.roll(pictures, shift, (2, 3))
        pictures = pictures + 0.05 * torch.from_numpy(
            rng.standard_normal(pictures.shape, dtype=np.float32)
        )
        style_logits, object_logits = model(pictures.to(memory_format=torch.channels_last))
        targets = torch.from_numpy(styles[order]), torch.from_numpy(objects[order])
        loss = functional.cross_entropy(style_logits, targets[0], label_smoothing=0.05)
        return loss + functional.cross_entropy(object_logits, targets[1], label_smoothing=0.05)

    stage = Stage("classifier", minutes, lr=2e-3, ema_decay=0.995)
    run_stage(stage, work, model, optimizer, loss_at)
    return model
