"""A folder of transformers' as a judge: its own answers, its labels, nothing of it trusted."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

from esdctl.errors import InputError
from esdctl.evaluation.judges.detector import find_detector
from esdctl.evaluation.metrics.detections import count_detections
from esdctl.progress import Silent

ProblemType = Literal["multi_label_classification"] | None
CPU = torch.device("cpu")
LABELS = ("Monet", "Van Gogh", "nobody")
PICTURES = np.random.default_rng(0).integers(0, 256, (5, 40, 48, 3), dtype=np.uint8)
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 32, "width": 32},
    "do_resize": True, "do_rescale": True, "do_normalize": True,
    "rescale_factor": 1 / 255, "resample": 2,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
}  # fmt: skip


def write_folder(folder: Path, problem_type: ProblemType = None) -> Path:
    """A tiny vision transformer with random weights, as ``save_pretrained`` leaves it."""
    config = ViTConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=8, id2label=dict(enumerate(LABELS)), initializer_range=1.0,
        label2id={name: place for place, name in enumerate(LABELS)}, problem_type=problem_type,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ViTForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return folder


def by_hand(folder: Path, pictures: np.ndarray) -> torch.Tensor:
    """Logits (B, 3), the pictures prepared with Pillow and plain arithmetic."""
    from PIL import Image

    sized = [
        np.asarray(Image.fromarray(p).resize((32, 32), Image.Resampling.BILINEAR)) for p in pictures
    ]
    inputs = torch.from_numpy(np.stack(sized)).permute(0, 3, 1, 2).float() / 127.5 - 1
    model = ViTForImageClassification.from_pretrained(folder)
    with torch.inference_mode():
        logits: torch.Tensor = model(inputs).logits
    return logits


def test_scores_are_the_classifiers_probabilities_the_likeliest_first(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "artists")
    detector = find_detector("image-classifier:artists", tmp_path)
    assert tuple(detector.labels) == LABELS
    rows = detector.load(CPU, Silent())(PICTURES)
    scores = by_hand(folder, PICTURES).softmax(1)
    for row, expected in zip(rows, scores, strict=True):
        assert [s.score for s in row] == pytest.approx(sorted(expected.tolist())[::-1], abs=1e-5)
        assert row[0].label == LABELS[int(expected.argmax())]
        assert sum(s.score for s in row) == pytest.approx(1)
    top = count_detections(rows, LABELS, 0, top=1)
    assert top.detections == len(PICTURES)
    assert list(top.by_label.values()) == scores.argmax(1).bincount(minlength=3).tolist()


def test_a_classifier_of_many_labels_scores_each_by_itself(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "tags", problem_type="multi_label_classification")
    rows = find_detector(f"image-classifier:{folder}", Path()).load(CPU, Silent())(PICTURES)
    scores = by_hand(folder, PICTURES).sigmoid()
    found = torch.tensor([[{s.label: s.score for s in r}[name] for name in LABELS] for r in rows])
    assert torch.allclose(found, scores, atol=1e-5)


def test_its_digest_is_of_weights_preparation_and_configuration(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "artists")
    digest = find_detector("image-classifier:artists", tmp_path).digest()
    processor = folder / "preprocessor_config.json"
    processor.write_text(processor.read_text().replace("0.5", "0.4"))
    assert find_detector("image-classifier:artists", tmp_path).digest() != digest


def _without(name: str) -> object:
    return lambda folder: (folder / name).unlink()


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _cut_off(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _with_code_of_its_own(folder: Path) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    file.write_text(
        json.dumps(config | {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}})
    )
    (folder / "mine.py").write_text(f"open({str(folder / 'canary')!r}, 'w')")


def _with_other_classes(folder: Path) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    labels = {str(place): f"label {place}" for place in range(7)}
    file.write_text(json.dumps(config | {"id2label": labels, "label2id": {}}))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without("config.json"), r"lacks config\.json"),
        (_without("preprocessor_config.json"), r"lacks preprocessor_config\.json"),
        (_pickled, r"lacks \*\.safetensors"),
        (_cut_off, "cannot read"),
        (_with_code_of_its_own, "cannot read"),
        (_with_other_classes, r"lacks weights of classifier\.bias, classifier\.weight"),
    ],
)
def test_what_is_no_such_folder_has_one_clear_error(
    spoil: object, words: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path / "artists")
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(InputError, match=words):
        find_detector("image-classifier:artists", tmp_path).load(CPU, Silent())
    assert not (folder / "canary").exists()


def test_loading_writes_nothing_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "artists")
    capfd.readouterr()
    find_detector("image-classifier:artists", tmp_path).load(CPU, Silent())
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder nowhere"):
        find_detector("image-classifier:nowhere", tmp_path)
