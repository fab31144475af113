"""One optimiser step on a Stable Diffusion 1.x of full size, with random weights, on the CPU."""

from pathlib import Path

import pytest
import torch

from tests.checkpoints.full_size_file import write_full_size
from tests.erasing.families import Case, embeddings_of


@pytest.mark.slow
def test_one_step_of_esd_x_on_a_full_size_model(tmp_path: Path) -> None:
    path = tmp_path / "sd1.safetensors"
    try:
        assert write_full_size(path, torch.float16) == 1_066_235_307
        embeddings = embeddings_of(path)
        assert embeddings.prompts.embeddings.shape == (1, 77, 768)
        student = Case(path, "esd-x").one_step(embeddings, tmp_path)
        assert sum(p.numel() for p in student.network.parameters()) == 859_520_964
        assert sum(p.numel() for p in student.selected.values()) == 43_962_560
        assert all(bool(p.isfinite().all()) for p in student.selected.values())
        moved = [not torch.equal(v, student.selected[n]) for n, v in student.frozen.items()]
        assert sum(moved) > 0.9 * len(moved)
    finally:
        path.unlink(missing_ok=True)  # two gigabytes
