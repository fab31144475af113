"""A judge as a differentiable function: the logits of its verdicts, features, and gradients."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from esdctl.evaluation.judges.judge import Classifier, Network, ResizeMode, features_of, resized
from esdctl.evaluation.judges.pocket import PocketClassifier, open_pocket, save_classifier
from esdctl.evaluation.judges.style50 import open_style50
from esdctl.progress import Silent
from tests.evaluation.judges.timm_vit import SIDE, WIDTH, write_judges

CPU = torch.device("cpu")
Pictures = npt.NDArray[np.uint8]


@pytest.fixture(params=["pocket", "style50"])
def judge(
    request: pytest.FixtureRequest, classifier: PocketClassifier, tmp_path: Path
) -> tuple[Classifier, int, int]:
    """A judge, the side of its pictures, and how many features it has."""
    if request.param == "pocket":
        save_classifier(classifier, tmp_path / "model.safetensors")
        return open_pocket(tmp_path / "model.safetensors"), 128, 320
    style50 = open_style50(write_judges(tmp_path))
    assert style50 is not None
    return style50, SIDE, 2 * WIDTH


def drawn(*shape: int) -> Pictures:
    """Smooth random pictures, so that resizing them is no matter of single pixels."""
    random = torch.Generator().manual_seed(0)
    count, height, width = shape
    coarse = torch.rand(count, 3, 6, 6, generator=random)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (smooth * 255).round().byte().permute(0, 2, 3, 1).numpy()


def as_tensor(pictures: Pictures) -> torch.Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def likeliest(judge: Classifier, network: Network, pictures: Pictures) -> list[tuple[object, ...]]:
    style_logits, object_logits = network.logits(as_tensor(pictures))
    p_style, style = style_logits.softmax(1).max(1)
    p_object, thing = object_logits.softmax(1).max(1)
    return [
        (judge.styles[int(s)], judge.objects[int(o)], float(p_s), float(p_o))
        for s, o, p_s, p_o in zip(style, thing, p_style, p_object, strict=True)
    ]


def test_its_logits_are_those_of_the_verdicts(judge: tuple[Classifier, int, int]) -> None:
    classifier, side, _ = judge
    pictures = drawn(3, side, side)
    found = likeliest(classifier, classifier.network(CPU, Silent()), pictures)
    for (style, thing, p_style, p_object), verdict in zip(
        found, classifier.load(CPU, Silent())(pictures), strict=True
    ):
        assert (style, thing) == (verdict.style, verdict.object)
        assert (p_style, p_object) == pytest.approx(verdict[2:4], abs=1e-5)


def test_pictures_of_another_size_get_the_same_names(judge: tuple[Classifier, int, int]) -> None:
    classifier, side, _ = judge
    pictures = drawn(3, 2 * side, side + 40)
    found = likeliest(classifier, classifier.network(CPU, Silent()), pictures)
    verdicts = classifier.load(CPU, Silent())(pictures)
    assert [names[:2] for names in found] == [verdict[:2] for verdict in verdicts]


@pytest.mark.parametrize(
    ("mode", "pillows"),
    [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)],
)
@pytest.mark.parametrize("shape", [(200, 131), (40, 90)], ids=["smaller", "larger"])
def test_pictures_are_resized_as_pillow_does_but_for_rounding(
    mode: ResizeMode, pillows: Image.Resampling, shape: tuple[int, int]
) -> None:
    # Not up to black and white, which Pillow clips what overshoots to, in each direction.
    noise = np.random.default_rng(0).integers(64, 192, (2, *shape, 3), dtype=np.uint8)
    found = resized(as_tensor(noise), 64, mode) * 255
    expected = np.stack([np.asarray(Image.fromarray(p).resize((64, 64), pillows)) for p in noise])
    # It rounds in each direction, too.
    assert (found - as_tensor(expected) * 255).abs().max() < 1.5


def test_gradients_reach_the_pictures_and_no_weight(judge: tuple[Classifier, int, int]) -> None:
    classifier, side, _ = judge
    network = classifier.network(CPU, Silent())
    for size in (side, side + 24):
        pictures = as_tensor(drawn(2, size, size)).requires_grad_()
        style_logits, _ = network.logits(pictures)
        style_logits[:, 0].sum().backward()
        assert pictures.grad is not None
        assert (pictures.grad.flatten(1).norm(dim=1) > 0).all()
        up = pictures.detach() + pictures.grad / pictures.grad.norm() * 0.05
        assert network.logits(up)[0][:, 0].sum() > style_logits[:, 0].sum()


def test_the_heads_see_the_features(judge: tuple[Classifier, int, int]) -> None:
    classifier, side, count = judge
    network = classifier.network(CPU, Silent())
    pictures = drawn(8, side, side)
    features = features_of(network, pictures, CPU)
    assert features.shape == (8, count)
    assert torch.allclose(features, network.features(as_tensor(pictures)), atol=1e-5)
    again = features_of(network, pictures[::-1].copy(), CPU)
    assert torch.allclose(features.flip(0), again, atol=1e-4)
    assert (features[0] - features[1]).abs().max() > 1e-3
