"""The classifier comes back as it was saved, and names what it sees."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from esdctl.errors import InputError
from esdctl.evaluation.judges.pocket import (
    PocketClassifier,
    load_classifier,
    save_classifier,
)

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)


def test_a_classifier_comes_back(classifier: PocketClassifier, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "model.safetensors"
    save_classifier(classifier, path)
    loaded = load_classifier(path)
    assert (loaded.styles, loaded.objects) == (classifier.styles, classifier.objects)
    assert not loaded.training
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, classifier.state_dict()[name].half().float())


def test_a_verdict_is_the_likeliest_class(classifier: PocketClassifier) -> None:
    pixels = torch.from_numpy(PICTURES).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        style_logits, object_logits = classifier(pixels)
    for i, verdict in enumerate(classifier.classify(PICTURES)):
        assert verdict.style == classifier.styles[int(style_logits[i].argmax())]
        assert verdict.object == classifier.objects[int(object_logits[i].argmax())]
        assert verdict.p_style == pytest.approx(float(style_logits[i].softmax(0).max()))
        assert verdict.p_object == pytest.approx(float(object_logits[i].softmax(0).max()))


def test_pictures_of_another_size_are_resized(classifier: PocketClassifier) -> None:
    large = np.stack([np.asarray(Image.fromarray(p).resize((256, 192))) for p in PICTURES])
    small = np.stack(
        [np.asarray(Image.fromarray(p).resize((128, 128), Image.Resampling.BICUBIC)) for p in large]
    )
    assert classifier.classify(large) == classifier.classify(small)


def test_a_damaged_file_is_an_input_error(classifier: PocketClassifier, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_classifier(path)
    save_classifier(classifier, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_classifier(path)
