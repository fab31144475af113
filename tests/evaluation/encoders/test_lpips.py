"""LPIPS against torchmetrics' own network, which here gets an AlexNet without torchvision."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchmetrics.functional.image import lpips as library

from esdctl.errors import EsdctlError, InputError
from esdctl.evaluation.encoders.lpips import FILE, distances_of_files, open_lpips
from esdctl.evaluation.metrics.fidelity import lpips_figure
from esdctl.progress import Silent

CPU = torch.device("cpu")


def torchvisions_alexnet() -> nn.Sequential:
    """The layers of torchvision's ``alexnet().features``, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2), nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2), nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, kernel_size=3, padding=1), nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )  # fmt: skip


@pytest.fixture
def models(tmp_path: Path) -> Path:
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    weights = {f"features.{name}": w for name, w in torchvisions_alexnet().state_dict().items()}
    torch.save(weights | {"classifier.1.weight": torch.zeros(2, 2)}, file)
    return tmp_path


def test_distances_are_those_of_torchmetrics(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(0)
    left, right = (torch.rand(3, 3, 64, 64, generator=random) * 2 - 1 for _ in range(2))
    monkeypatch.setattr(library, "_get_tv_model_features", lambda *_: torchvisions_alexnet())
    with torch.inference_mode():
        expected = library._LPIPS(net="alex")(left, right).flatten()
    found = open_lpips(models).load(CPU, Silent())(left, right)
    assert found.shape == (3,)
    assert torch.allclose(found, expected, rtol=1e-4)
    assert (expected > 1e-4).all()


def test_a_picture_is_at_no_distance_from_itself_and_nearer_to_its_like(models: Path) -> None:
    distance = open_lpips(models).load(CPU, Silent())
    random = torch.Generator().manual_seed(0)
    picture, noise = (torch.rand(1, 3, 64, 64, generator=random) * 2 - 1 for _ in range(2))
    assert float(distance(picture, picture)) == pytest.approx(0, abs=1e-7)
    near, far = (float(distance(picture, picture + s * noise)) for s in (0.1, 0.5))
    assert 0 < near < far


def test_files_are_compared_in_pairs_at_64_pixels(models: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (80, 100, 3), dtype=np.uint8) for _ in range(4)]
    files = [tmp_path / f"{place}.png" for place in range(4)]
    for file, picture in zip(files, pictures, strict=True):
        Image.fromarray(picture).save(file)
    pairs = [(files[0], files[1]), (files[2], files[2]), (files[2], files[3])]
    found = distances_of_files(open_lpips(models), pairs, CPU, Silent(), batch=2)
    small = [Image.fromarray(each).resize((64, 64), Image.Resampling.BICUBIC) for each in pictures]
    batch = torch.from_numpy(np.stack([np.asarray(each) for each in small])).permute(0, 3, 1, 2)
    batch = batch.float() / 127.5 - 1
    distance = open_lpips(models).load(CPU, Silent())
    assert found.tolist() == pytest.approx(
        distance(batch[[0, 2, 2]], batch[[1, 2, 3]]).tolist(), rel=1e-4
    )
    assert found[1] == 0
    assert lpips_figure(found, "AlexNet").n == 3


def test_its_digest_is_of_both_files(models: Path) -> None:
    before = open_lpips(models).digest()
    file = models / FILE
    file.write_bytes(file.read_bytes() + b"\0")
    assert open_lpips(models).digest() != before


def test_a_missing_or_strange_alexnet_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not here") as caught:
        open_lpips(tmp_path)
    assert caught.value.hint == "esdctl download alexnet"
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, file)
    with pytest.raises(EsdctlError):
        open_lpips(tmp_path).load(CPU, Silent())
