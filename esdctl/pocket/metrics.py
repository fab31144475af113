"""The pocket model's quality on fresh seeds, as its classifier sees it."""

import sys
from pathlib import Path

import numpy as np
import torch

from esdctl.diffusion.ddim import CLEAN, run_ddim
from esdctl.diffusion.guidance import guided
from esdctl.diffusion.schedule import ddim_timesteps
from esdctl.evaluation.classifiers.pocket import PocketClassifier, load_classifier
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import StableDiffusion, load
from esdctl.models.text import encode_prompts
from esdctl.pocket.autoencoder import to_tensor
from esdctl.pocket.canvas import draw

FRESH = 1_000_000  # seeds from here on were never trained on
STEPS = 25
GUIDANCE = 3.0


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
    sampled = sample_cells(model, sampled_labels)
    return {
        "drawn": _accuracy(classifier, to_tensor(drawn), drawn_labels),
        "sampled": {
            "steps": STEPS,
            "guidance_scale": GUIDANCE,
            **_accuracy(classifier, sampled * 2 - 1, sampled_labels),
        },
    }


@torch.inference_mode()
def sample_cells(
    model: StableDiffusion, cells: list[tuple[str, str]], batch: int = 20
) -> torch.Tensor:
    """Pictures for the evaluation prompt of each (style, object), (N, 3, 128, 128) in 0..1."""
    timesteps = [*ddim_timesteps(STEPS, model.schedule.spacing), CLEAN]
    empty = encode_prompts(model, [""])
    parts = []
    for start in range(0, len(cells), batch):
        some = cells[start : start + batch]
        prompts = [f"A {o} image in {s.replace('_', ' ')} style." for s, o in some]
        noise = torch.stack(
            [
                torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(FRESH + start + i))
                for i in range(len(some))
            ]
        )
        predict = guided(
            model.denoise, encode_prompts(model, prompts), empty.expand(len(some), -1, -1), GUIDANCE
        )
        parts.append(model.decode(run_ddim(model.schedule, predict, noise, timesteps)))
        print(f"sampled {start + len(some)} of {len(cells)}", file=sys.stderr, flush=True)
    return torch.cat(parts)


@torch.inference_mode()
def _accuracy(
    classifier: PocketClassifier, pictures: torch.Tensor, labels: list[tuple[str, str]]
) -> dict[str, object]:
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
