"""Encoders by name: a judge's own features, Inception's file, CLIP's folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from esdctl.errors import InputError, IntegrityError, UsageError
from esdctl.evaluation.encoders.encoder import encode_files
from esdctl.evaluation.encoders.find import find_encoder
from esdctl.evaluation.encoders.inception import FILE, Inception
from esdctl.evaluation.metrics.fidelity import frechet_distance
from esdctl.models.named import POCKET
from esdctl.models.resolve import Pipeline
from esdctl.progress import Silent

CPU = torch.device("cpu")
POCKETS = Pipeline("pocket", POCKET)


def test_a_judges_features_make_a_fid_that_says_so(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    files = [tmp_path / f"{place}.png" for place in range(8)]
    for place, file in enumerate(files):
        low = 0 if place < 4 else 128
        pixels = random.integers(low, 256, (96 if place % 2 else 128, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    encoder = find_encoder("pocket", POCKETS, tmp_path)
    features = encode_files(encoder, files, CPU, Silent())
    assert features.shape == (8, 320)
    figure = frechet_distance(features[:4], features[4:], encoder)
    assert figure.value > 0
    assert (figure.encoder, figure.size) == ("pocket judge, 320 features", "128 x 128")
    assert figure.resize == "bicubic, antialiased, no crop"
    assert len(encoder.digest()) == 64


def test_inception_says_how_to_get_its_weights_and_trusts_no_other_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not here") as caught:
        find_encoder("inception", POCKETS, tmp_path)
    assert caught.value.hint == "esdctl download inception"
    file = tmp_path / FILE
    file.parent.mkdir(parents=True)
    torch.save({"x": torch.zeros(1)}, file)
    encoder = find_encoder("inception", POCKETS, tmp_path)
    assert isinstance(encoder, Inception)
    with pytest.raises(IntegrityError, match="is not what torch-fidelity published"):
        encoder.load(CPU, Silent())


def test_an_unknown_encoder_gets_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no encoder 'incepton'") as caught:
        find_encoder("incepton", POCKETS, tmp_path)
    assert "inception" in caught.value.hint
