"""The pocket model's quality on fresh seeds, as its classifier sees it."""

from pathlib import Path

import numpy as np
import torch

from esdctl.datasets.unlearn_canvas import evaluation_prompt
from esdctl.evaluation.judges.pocket import PocketClassifier, load_classifier
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load
from esdctl.pocket.autoencoder import to_tensor
from esdctl.pocket.canvas import SIZE, draw
from esdctl.progress import Silent
from esdctl.sampling.defaults import DEFAULT_STEPS, POCKET_GUIDANCE
from esdctl.sampling.plan import Picture
from esdctl.sampling.sample import sample_in_memory

FRESH = 1_000_000  # seeds from here on were never trained on


def measure(weights: Path, seeds: int = 1, drawn_seeds: int = 5) -> dict[str, object]:
    """Classify fresh drawn pictures and pictures sampled with the evaluation prompt.

    Args:
        weights: the pipeline folder, with ``classifier/``.
        seeds: sampled pictures of each style x object.
        drawn_seeds: drawn pictures of each style x object.

    Returns:
        A JSON document: accuracies in percent by style and object, numbers of pictures, settings.
    """
    classifier = load_classifier(weights / "classifier" / "model.safetensors")
    model = load(Pipeline(str(weights), weights), torch.device("cpu"))
    cells = [(s, o) for s in classifier.styles for o in classifier.objects]
    drawn = np.stack([draw(s, o, FRESH + i) for s, o in cells for i in range(drawn_seeds)])
    drawn_labels = [cell for cell in cells for _ in range(drawn_seeds)]
    sampled_labels = [cell for cell in cells for _ in range(seeds)]
    pictures = [
        Picture(
            str(i), evaluation_prompt(*cell), FRESH + i, POCKET_GUIDANCE, DEFAULT_STEPS, SIZE, SIZE
        )
        for i, cell in enumerate(sampled_labels)
    ]
    sampled = sample_in_memory(model, pictures, Silent(), batch_size=20)
    return {
        "drawn": accuracy(classifier, to_tensor(drawn), drawn_labels),
        "sampled": {
            "steps": DEFAULT_STEPS,
            "guidance_scale": POCKET_GUIDANCE,
            **accuracy(classifier, to_tensor(sampled), sampled_labels),
        },
    }


@torch.inference_mode()
def accuracy(
    classifier: PocketClassifier, pictures: torch.Tensor, labels: list[tuple[str, str]]
) -> dict[str, object]:
    """How often the judge sees what was asked for, in percent; pictures (N, 3, H, W) in 0..1."""
    logits = [classifier(pictures[i : i + 64]) for i in range(0, len(pictures), 64)]
    styles = torch.cat([pair[0] for pair in logits]).argmax(1).tolist()
    objects = torch.cat([pair[1] for pair in logits]).argmax(1).tolist()
    style_hits = [classifier.styles[p] == s for p, (s, _) in zip(styles, labels, strict=True)]
    object_hits = [classifier.objects[p] == o for p, (_, o) in zip(objects, labels, strict=True)]
    return {
        "pictures": len(labels),
        "style_percent": _percent(style_hits),
        "object_percent": _percent(object_hits),
        "style_percent_by_style": _grouped(style_hits, [s for s, _ in labels]),
        "object_percent_by_object": _grouped(object_hits, [o for _, o in labels]),
    }


def _percent(hits: list[bool]) -> float:
    return round(100 * sum(hits) / len(hits), 2)


def _grouped(hits: list[bool], names: list[str]) -> dict[str, float]:
    return {
        name: _percent([hit for hit, other in zip(hits, names, strict=True) if other == name])
        for name in dict.fromkeys(names)
    }
