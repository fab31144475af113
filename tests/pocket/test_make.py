"""The maker: from nothing to a pipeline folder, in seconds; finished stages are kept."""

import json
from pathlib import Path

import pytest
import torch

from esdctl.cli.app import run
from esdctl.pocket.muon import Muon, orthogonal
from esdctl.pocket.stage import Stage, run_stage
from tests.warm import Warm

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
def test_the_maker_writes_a_pipeline_that_train_can_use(
    tmp_path: Path, warm: Warm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    merges = tmp_path / "merges.txt.gz"
    _merges_from_shipped_tokenizer(merges)
    words = [
        "make", "--minutes", "0.01", "--per-cell", "1", "--work", "work", "--merges", str(merges),
        "--output", "made", "--no-metrics",
    ]  # fmt: skip
    script = f"import sys; sys.argv = {words}; from esdctl.pocket.make import main; main()"
    done = warm.run_script(script, tmp_path)
    assert done.returncode == 0, done.stderr
    first = (tmp_path / "made/unet/diffusion_pytorch_model.safetensors").read_bytes()
    done = warm.run_script(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "step" not in done.stderr  # all stages are done
    assert (tmp_path / "made/unet/diffusion_pytorch_model.safetensors").read_bytes() == first
    quick = ["--iterations", "1", "--ddim-steps", "2", "--no-contact-sheet", "--output", "run"]
    assert run(["train", "--model", "made", "--concept", "Rust", "--json", *quick]) == 0
    assert json.loads(capsys.readouterr().out)["concept"] == "Rust"


def _merges_from_shipped_tokenizer(path: Path) -> None:
    import gzip

    shipped = REPOSITORY / "esdctl/pocket/weights/tokenizer/merges.txt"
    path.write_bytes(gzip.compress(shipped.read_bytes()))
