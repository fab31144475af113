"""The embedded model as a target, and the same with a U-Net that was stirred."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from esdctl.attacks.plan import Budget, plan_attacks
from esdctl.attacks.run import target_of
from esdctl.attacks.target import Target
from esdctl.checkpoints.changes.delta import write_delta
from esdctl.models.resolve import Pipeline, resolve_model
from esdctl.progress import Silent
from esdctl.storage.workspace import Workspace

CASES, STEPS = 2, 6


@pytest.fixture(scope="session")
def pocket() -> Pipeline:
    return resolve_model("pocket", Workspace(Path()))


@pytest.fixture(scope="session")
def stirred(pocket: Pipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A delta that claims to erase Mosaic, and leaves a U-Net that draws nothing."""
    generator = torch.Generator().manual_seed(0)
    changes = {
        name: torch.randn(value.shape, generator=generator)
        for name, value in pocket.files.read("unet").items()
        if "conv_out" in name or "conv_in" in name
    }
    path = tmp_path_factory.mktemp("stirred") / "delta.safetensors"
    about = {"base": "pocket", "base_digest": pocket.base_digest(), "concept": "Mosaic"}
    write_delta(path, changes, about)
    return path


@pytest.fixture
def target(pocket: Pipeline, tmp_path: Path) -> Callable[[str, Path | None], Target]:
    """Attack and model -> the target, with two cases of Mosaic."""

    def of(attack: str, delta: Path | None) -> Target:
        workspace = Workspace(tmp_path)
        pipeline = pocket if delta is None else resolve_model(str(delta), workspace)
        phrases = tmp_path / "phrases.txt"
        phrases.write_text("mosaic mosaic\n")
        plan = plan_attacks(
            pipeline,
            attack,
            Budget("test", sampling_steps=STEPS),
            tmp_path,
            workspace.models,
            concept="Mosaic",
            n=CASES,
            phrases=phrases,
        )
        return target_of(plan, torch.device("cpu"), Silent())

    return of
