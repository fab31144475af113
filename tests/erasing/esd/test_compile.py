"""A compiled U-Net is used where it gives what the plain one gives, and nowhere else."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from esdctl.cli.app import run
from esdctl.diffusion.ddim import scaled_linear
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.compiled import (
    CompiledNetwork,
    Passes,
    accepted,
    largest_difference,
    passes_of,
)
from esdctl.erasing.esd.prepare import Prepared
from esdctl.erasing.plan import plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.progress import Silent
from esdctl.storage.atomic import read_jsonl
from esdctl.storage.workspace import Workspace
from esdctl.timing.training_bench import TrainingCase, figures_of
from tests.erasing.families import Case, embeddings_of, sha256
from tests.warm import Warm

PASSES = Passes(trained=2, sampled=1, frozen=3)


class Notices(Silent):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def notice(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with the smallest U-Net that has cross-attention."""
    folder = tmp_path_factory.mktemp("models") / "smallest"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("unet"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=(8,), layers_per_block=1, norm_num_groups=4,
            down_block_types=("CrossAttnDownBlock2D",), up_block_types=("UpBlock2D",),
            cross_attention_dim=16, attention_head_dim=2,
        )  # fmt: skip
    unet.save_pretrained(folder / "unet")
    return folder


@pytest.fixture
def ready(model: Path) -> Prepared:
    return Prepared(Case(model).student(), embeddings_of(model), (4, 8, 8), scaled_linear())


def test_the_plain_network_is_no_different_from_itself_and_nothing_is_left_behind(
    ready: Prepared,
) -> None:
    before, state = sha256(ready.student), torch.get_rng_state()
    assert largest_difference(ready, ready.student.network.forward, PASSES, seed=0) == 0.0
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert all(p.grad is None for p in ready.student.network.parameters())
    assert sha256(ready.student) == before


def test_a_network_with_wrong_gradients_is_refused_and_the_notice_says_how_far_off(
    ready: Prepared,
) -> None:
    unet, told = ready.student.network, Notices()

    def without_gradients(*arguments: torch.Tensor, **named: object) -> tuple[torch.Tensor]:
        (prediction,) = unet(*arguments, **named)
        scaled = 0.2 * prediction + 0.8 * prediction.detach()  # right, with a fifth of the gradient
        return (scaled,)

    difference = largest_difference(ready, without_gradients, PASSES, seed=0)
    assert difference == pytest.approx(0.8, rel=1e-3)
    assert accepted(ready.student, without_gradients, difference, 1.0, told) is ready.student
    assert "80.0% off" in told.texts[-1]
    assert "training without --compile" in told.texts[-1]


@pytest.mark.parametrize("rows", [PASSES.trained, PASSES.sampled, PASSES.frozen])
def test_a_wrong_prediction_of_any_kind_of_pass_is_noticed(rows: int, ready: Prepared) -> None:
    unet = ready.student.network

    def wrong(latents: torch.Tensor, *others: torch.Tensor, **named: object) -> tuple[torch.Tensor]:
        (prediction,) = unet(latents, *others, **named)
        return (prediction + 1.0 * (len(latents) == rows),)

    assert largest_difference(ready, wrong, PASSES, seed=0) > 0.05


def test_a_prediction_that_is_no_number_is_refused(ready: Prepared) -> None:
    unet, told = ready.student.network, Notices()

    def broken(*arguments: torch.Tensor, **named: object) -> tuple[torch.Tensor]:
        return (unet(*arguments, **named)[0] * torch.nan,)

    difference = largest_difference(ready, broken, PASSES, seed=0)
    assert accepted(ready.student, broken, difference, 1.0, told) is ready.student
    assert "nan% off" in told.texts[-1]


def test_the_frozen_predictions_of_a_compiled_network_come_from_the_frozen_values(
    ready: Prepared,
) -> None:
    plain = ready.student
    other = replace(plain, compiled=CompiledNetwork(plain.network, plain.network.forward))
    latents, t = torch.ones(1, *ready.latent), torch.tensor([5])
    before = plain.denoise_frozen(latents, t, ready.embeddings.prompts)
    with torch.no_grad():
        for parameter in plain.selected.values():
            parameter.add_(0.5)
    assert torch.equal(other.denoise_frozen(latents, t, ready.embeddings.prompts), before)
    assert not torch.equal(other.denoise(latents, t, ready.embeddings.prompts), before)


def test_what_a_trajectory_asks_again_and_again_is_compared(ready: Prepared) -> None:
    found = {
        trajectory: passes_of(
            TrainConfig(concept="Rust", trajectory=trajectory),
            replace(ready.embeddings, retained=ready.embeddings.prompts),
            4,
        )
        for trajectory in ("exact", "rolling", "frozen")
    }
    assert found == {
        "exact": Passes(trained=8, sampled=8, frozen=12),
        "rolling": Passes(trained=8, sampled=4, frozen=12),
        "frozen": Passes(trained=8),
    }


def test_only_a_run_that_is_compiled_has_another_digest(model: Path, tmp_path: Path) -> None:
    plain, not_compiled, is_compiled = (
        plan_erase(
            EraseRequest({"concept": "Rust", "model": str(model), **given}, preset="reference"),
            Workspace(tmp_path),
        ).digest
        for given in ({}, {"compile": False}, {"compile": True})
    )  # fmt: skip
    assert plain == not_compiled != is_compiled


def command(model: Path, folder: Path, *arguments: str) -> list[str]:
    """``train`` with a pool of frozen trajectories, which needs one program."""
    return [
        "train", "--model", str(model), "--concept", "Rust", "--preset", "reference",
        "--trajectory", "frozen", "--pool-size", "2", "--ddim-steps", "2", "--iterations", "4",
        "--save-every", "2", "--lr", "1e-3", "--devices", "cpu", "--no-contact-sheet",
        "--output", str(folder), *arguments,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def plain(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The delta of a run that is not compiled."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    assert run(command(model, folder)) == 0
    return load_file(folder / "delta.safetensors")


@pytest.fixture
def train_compiled(
    model: Path, tmp_path: Path, warm: Warm, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path], str]:
    """Trains with ``--compile`` in a process of its own; gives what it says on stderr."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)

    def call(folder: Path) -> str:
        words = command(model, folder, "--compile")
        done = warm.run(*words, cwd=tmp_path, ESDCTL_CACHE_DIR=str(tmp_path / "cache"))
        assert done.returncode == 0, done.stderr
        return done.stderr

    return call


def stop_after(folder: Path, steps: int) -> None:
    """Make a finished run one that was killed after a checkpoint."""
    for later in (folder / "checkpoints").glob("step-*.pt"):
        if int(later.stem.removeprefix("step-")) > steps:
            later.unlink()
    for result in ("delta.safetensors", "manifest.json"):
        (folder / result).unlink(missing_ok=True)


@pytest.mark.slow
def test_a_compiled_run_agrees_with_the_plain_one_and_resumes_bit_equal_from_the_cache(
    plain: dict[str, torch.Tensor], train_compiled: Callable[[Path], str], tmp_path: Path
) -> None:
    folder, cache = tmp_path / "run", tmp_path / "cache/compiled"
    told = train_compiled(folder)
    assert "off the plain U-Net" in told
    assert "Warning" not in told
    libraries = set(cache.rglob("*.so"))
    assert libraries
    compiled = load_file(folder / "delta.safetensors")
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-4, atol=1e-4)

    delta = (folder / "delta.safetensors").read_bytes()
    stop_after(folder, 2)
    assert "off the plain U-Net" in train_compiled(folder)
    assert set(cache.rglob("*.so")) == libraries
    assert (folder / "delta.safetensors").read_bytes() == delta
    steps = [row["step"] for row in read_jsonl(folder / "log.jsonl")]
    assert steps == [1, 2, 3, 4]


def test_without_a_compiler_a_notice_says_so_and_the_result_is_the_plain_one(
    plain: dict[str, torch.Tensor], model: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("ESDCTL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "/nonexistent"))
    assert run(command(model, tmp_path / "run", "--compile")) == 0
    told = capsys.readouterr().err
    assert "training without --compile: " in told
    assert "/nonexistent" in told or "compiler" in told
    assert "Traceback" not in told
    other = load_file(tmp_path / "run/delta.safetensors")
    assert plain.keys() == other.keys()
    assert all(torch.equal(other[name], value) for name, value in plain.items())


def test_a_benchmark_says_where_nothing_could_be_compiled(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr("torch.compile", missing)
    settings = {"model": str(model), "concept": "Rust", "devices": "cpu", "compile": True}
    found = figures_of(TrainingCase("compiled", settings, "reference"), tmp_path)
    assert found["s to compile"] is None
    assert (found["s a pair"] or 0) > 0
