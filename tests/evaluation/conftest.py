"""A tiny model with a classifier of two styles and two objects, and an erasure of it."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from esdctl.checkpoints.changes.delta import write_delta
from esdctl.evaluation.judges.pocket import OWN, PocketClassifier, save_classifier
from esdctl.models.resolve import Pipeline

STYLES, OBJECTS = ["Mosaic", "Neon_Lines"], ["Cats", "Dogs"]


@pytest.fixture(scope="session")
def classifier() -> PocketClassifier:
    """Random weights, heads far enough from zero to see differences."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PocketClassifier(STYLES, OBJECTS).eval()


@pytest.fixture(scope="session")
def base(
    tiny_model: Path, classifier: PocketClassifier, tmp_path_factory: pytest.TempPathFactory
) -> Pipeline:
    folder = tmp_path_factory.mktemp("judged") / "base"
    shutil.copytree(tiny_model, folder)
    save_classifier(classifier, folder / OWN)
    return Pipeline(str(folder), folder)


@pytest.fixture(scope="session")
def erased(base: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A delta that claims to erase Neon_Lines."""
    weights = load_file(base.folder / "unet" / "diffusion_pytorch_model.safetensors")
    delta = tmp_path_factory.mktemp("run") / "delta.safetensors"
    write_delta(
        delta,
        {name: -value for name, value in weights.items() if "attn2.to_v" in name},
        {"base": base.name, "base_digest": base.base_digest(), "concept": "Neon_Lines"},
    )
    return Pipeline(str(delta), base.folder, delta)
