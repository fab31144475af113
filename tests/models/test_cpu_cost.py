"""A full-size model on a CPU takes hours, which is said before; a small one's seconds are not."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from esdctl.models.cpu_cost import cpu_cost_note
from esdctl.models.named import POCKET
from esdctl.models.resolve import Pipeline
from tests.checkpoints.tiny_models import tiny_folder


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A tiny model whose config says the real widths: nothing else is looked at."""
    folder = tiny_folder("sd1", tmp_path_factory.mktemp("m") / "sd1")
    pipeline = Pipeline("compvis", folder)
    architecture = pipeline.files.architecture
    said = SimpleNamespace(
        denoiser={**architecture.denoiser, "block_out_channels": [320, 640, 1280, 1280]},
        vae=architecture.vae, family=architecture.family,
    )  # fmt: skip
    pipeline.__dict__["files"] = SimpleNamespace(architecture=said)
    return pipeline


def test_the_hours_of_a_training_are_said(full_size: Pipeline) -> None:
    note = cpu_cost_note(full_size, "cpu", 6000, 512)
    assert note is not None
    assert "about 6 hours" in note
    assert "--model pocket" in note


def test_nothing_is_said_of_a_gpu_of_few_passes_or_of_a_small_model(full_size: Pipeline) -> None:
    assert cpu_cost_note(full_size, "cuda:0", 6000, 512) is None
    assert cpu_cost_note(full_size, "cpu", 10, 512) is None
    assert cpu_cost_note(Pipeline("pocket", Path(POCKET)), "cpu", 10**6, 512) is None
