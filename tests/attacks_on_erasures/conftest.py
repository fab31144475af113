"""The embedded model as a target, and the same with a U-Net that was stirred."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from esdctl.attacks.asked import AttackRequest
from esdctl.attacks.budget import Budget
from esdctl.attacks.plan import plan_attacks
from esdctl.attacks.run import target_of
from esdctl.attacks.target import Target
from esdctl.checkpoints.changes.delta import write_delta
from esdctl.cli.app import run
from esdctl.models.resolve import Pipeline, resolve_model
from esdctl.progress import Silent
from esdctl.storage.workspace import Workspace

CASES, STEPS = 2, 6
PLAIN = 8  # plain pictures that say how much an erasure hides


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


@pytest.fixture(scope="session")
def cut_short(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Target, float]]:
    """Concept -> the target of an erasure that stopped after a few of 16 steps.

    Its cases are the two that hide the concept the least, of those that do not show it; beside it
    is the share of plain pictures that show the concept.
    """
    folder = tmp_path_factory.mktemp("cut-short")

    @cache
    def of(concept: str) -> tuple[Target, float]:
        run_folder = folder / concept
        steps = {"Mosaic": 2, "Red_Blue_Ink": 6}[concept]
        options = ["--preset", "pocket-cold", "--iterations", str(steps), "--device", "cpu"]
        command = ["train", "--model", "pocket", "--concept", concept, "--no-contact-sheet"]
        assert run([*command, *options, "--quiet", "--output", str(run_folder)]) == 0
        workspace = Workspace(folder)
        plan = plan_attacks(
            resolve_model(str(run_folder / "delta.safetensors"), workspace),
            "all",
            Budget("test", sampling_steps=STEPS),
            folder,
            workspace.models,
            AttackRequest(concept, n=PLAIN),
        )
        target = target_of(plan, torch.device("cpu"), Silent())
        pictures = target.sampled([c.prompt for c in plan.cases], [c.seed for c in plan.cases])
        seen = list(zip(plan.cases, target.judged(pictures), strict=True))
        hidden = sorted((sight.score, case.index) for case, sight in seen if not sight.found)
        cases = [plan.cases[index] for _, index in hidden[-CASES:]]
        return replace(target, cases=cases), 1 - len(hidden) / PLAIN

    return of


@pytest.fixture
def target(pocket: Pipeline, tmp_path: Path) -> Callable[..., Target]:
    """Attack, model and concept -> the target, with two cases."""

    def of(attack: str, delta: Path | None, concept: str = "Mosaic") -> Target:
        workspace = Workspace(tmp_path)
        pipeline = pocket if delta is None else resolve_model(str(delta), workspace)
        plan = plan_attacks(
            pipeline,
            attack,
            Budget("test", sampling_steps=STEPS),
            tmp_path,
            workspace.models,
            AttackRequest(concept, n=CASES),
        )
        return target_of(plan, torch.device("cpu"), Silent())

    return of
