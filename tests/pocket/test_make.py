"""The maker: from nothing to a pipeline folder, in seconds; finished stages are kept."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from esdctl.pocket.muon import Muon, orthogonal
from esdctl.pocket.stage import Stage, run_stage

REPOSITORY = Path(__file__).parents[2]


def test_a_stage_resumes_from_its_checkpoint_and_ends_when_its_time_is_spent(
    tmp_path: Path,
) -> None:
    def train() -> tuple[torch.Tensor, list[int]]:
        torch.manual_seed(0)
        model = torch.nn.Linear(6, 6)
        seen = []

        def loss_at(step: int) -> torch.Tensor:
            seen.append(step)
            return model(torch.full((1, 6), float(step))).square().mean()

        stage = Stage("toy", minutes=0.005, lr=1e-3)
        run_stage(stage, tmp_path, model, Muon(model, lr=1e-3), loss_at)
        return model.weight.detach().clone(), seen

    first, seen = train()
    assert seen[0] == 0
    again, nothing = train()
    assert nothing == []
    assert torch.equal(first, again)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 4, 20), (1, 20, 4)])
def test_muon_gives_nearly_orthogonal_updates(shape: tuple[int, ...]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonal(matrices))
    assert values.min() > 0.3
    assert values.max() < 1.4


@pytest.mark.slow
def test_the_maker_writes_a_pipeline_that_train_can_use(tmp_path: Path) -> None:
    merges = tmp_path / "merges.txt.gz"
    _merges_from_shipped_tokenizer(merges)
    command = [
        sys.executable, "-m", "esdctl.pocket.make", "--minutes", "0.05", "--per-cell", "4",
        "--work", "work", "--merges", str(merges), "--output", "made", "--no-metrics",
    ]  # fmt: skip
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    first = (tmp_path / "made/unet/diffusion_pytorch_model.safetensors").read_bytes()
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)  # all stages are done
    assert (tmp_path / "made/unet/diffusion_pytorch_model.safetensors").read_bytes() == first
    train = [
        sys.executable, "-m", "esdctl", "train", "--model", "made", "--concept", "Rust", "--json",
        "--iterations", "1", "--ddim-steps", "2", "--output", "run",
    ]  # fmt: skip
    done = subprocess.run(train, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["concept"] == "Rust"


def _merges_from_shipped_tokenizer(path: Path) -> None:
    import gzip

    shipped = REPOSITORY / "esdctl/pocket/weights/tokenizer/merges.txt"
    path.write_bytes(gzip.compress(shipped.read_bytes()))
