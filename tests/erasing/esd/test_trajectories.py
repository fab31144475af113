"""Frozen and rolling trajectories give the rows that their descriptions promise, and resume."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from esdctl.diffusion.conditioning import Conditioning, concatenate
from esdctl.diffusion.schedule import Schedule, bin_edges
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.esd.loop import Training, train
from esdctl.erasing.esd.step import Embeddings, step_loss
from esdctl.erasing.esd.student import Student, new_student
from esdctl.erasing.esd.trajectories.frozen import FrozenTrajectory
from esdctl.erasing.esd.trajectories.pool import Pool
from esdctl.erasing.esd.trajectories.pool_folder import PoolFolder
from esdctl.erasing.esd.trajectories.pooled_draw import pooled_draw
from esdctl.erasing.esd.trajectories.rolling import RollingTrajectory
from esdctl.erasing.esd.trajectories.trajectory import Trajectory, open_trajectory
from esdctl.erasing.trackers import open_tracker
from esdctl.errors import Interrupted
from esdctl.models.families.sd1 import FAMILY as SD1
from esdctl.models.stable_diffusion import load
from esdctl.models.text import encode_prompts
from esdctl.progress import Silent
from tests.checkpoints.tiny_models import tiny_folder
from tests.erasing.families import Case, pipeline, sha256

CPU = torch.device("cpu")
SHAPE = (3, 4, 8, 8)
KINDS = ("exact", "frozen", "rolling")
CONFIG = TrainConfig(
    concept="Rust", ddim_steps=4, iterations=9, lr=1e-3, pool_size=5, save_every=4, seed=7
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("sd1", tmp_path_factory.mktemp("sd1") / "model")


@pytest.fixture(scope="module")
def schedule(model: Path) -> Schedule:
    return load(pipeline(model), CPU).schedule


@pytest.fixture(scope="module")
def embeddings(model: Path) -> Embeddings:
    texts = ["An image of Rust.", "Rust style", "a wall", "Dogs", "Cats", "Towers", ""]
    rows = list(encode_prompts(load(pipeline(model), CPU), texts))
    return Embeddings(concatenate(rows[:2]), rows[2], concatenate(rows[3:6]), rows[6])


@pytest.fixture
def student(model: Path) -> Student:
    return Case(model).student()


def opened(
    kind: str, student: Student, schedule: Schedule, embeddings: Embeddings, **changes: object
) -> Trajectory:
    config = CONFIG.model_copy(update={"trajectory": kind, **changes})
    return open_trajectory(student, schedule, embeddings, config, SHAPE, Silent())


class Plain(torch.nn.Module):
    """A denoiser whose answer tells the condition, the latents and the timestep."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(1.0))

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor, return_dict: bool
    ) -> tuple[torch.Tensor]:
        mean = context.mean((1, 2)).view(-1, 1, 1, 1)
        return (self.gain * mean + 0.1 * x + t.view(-1, 1, 1, 1) / 1000,)


def numbers(*values: float) -> Conditioning:
    return Conditioning(torch.tensor(values)[:, None, None].expand(-1, 77, 4))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_source", [False, True])
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_frozen_predictions_are_those_of_the_frozen_copy_at_the_very_rows(
    kind: str, has_source: bool, weight: float, schedule: Schedule
) -> None:
    student = new_student(Plain(), SD1.denoiser, ["gain"])
    source = numbers(5.0) if has_source else None
    embeddings = Embeddings(numbers(1.0, 2.0), source, numbers(-1.0, -2.0, -3.0), numbers(0.0))
    trajectory = opened(kind, student, schedule, embeddings, retain_weight=weight)
    for step in range(3):
        pairs = trajectory.pairs(step)
        frozen, conditions = pairs.frozen(), pairs.conditions
        expected = [
            (frozen.empty, conditions.empty),
            (frozen.concept, conditions.concept),
            (frozen.source, conditions.source),
            (frozen.retained, conditions.retained),
        ]
        assert (frozen.source is not None) == has_source
        assert (frozen.retained is not None) == (weight > 0)
        for prediction, condition in expected:
            assert (prediction is None) == (condition is None)
            if prediction is not None and condition is not None:
                again = student.denoise_frozen(pairs.x_t, pairs.t, condition)
                torch.testing.assert_close(prediction, again)
        loss = step_loss(student, pairs, 1.0)
        pairs.follow(loss.prediction)
        assert (loss.retain is not None) == (weight > 0)
        if loss.retain is not None:
            assert loss.retain.item() == 0.0  # the student is still the frozen model


@pytest.mark.parametrize("kind", ["frozen", "rolling"])
def test_rows_of_a_step_spread_over_t_and_all_timesteps_are_met_evenly(
    kind: str, student: Student, schedule: Schedule, embeddings: Embeddings
) -> None:
    trajectory = opened(kind, student, schedule, embeddings, retain_weight=0.0)
    seen = []
    for step in range(24):
        pairs = trajectory.pairs(step)
        pairs.follow(torch.zeros(SHAPE))
        bins = pairs.t // 250
        assert len(set(bins.tolist())) == 3  # three rows, four bins
        seen += pairs.t.tolist()
    counts = Counter(t // 250 for t in seen)
    assert all(abs(counts[k] - 18) <= 6 for k in range(4))
    assert len(set(seen)) > 30


def test_a_pooled_trajectory_depends_on_seed_and_number_alone_and_has_a_timestep_a_bin() -> None:
    one, again = pooled_draw(3, 5, 7, 2, 9, (4, 2, 2)), pooled_draw(3, 5, 7, 2, 9, (4, 2, 2))
    assert torch.equal(one.noise, again.noise)
    assert (one.places, one.retained, one.prompt) == (
        again.places, again.retained, again.prompt,
    )  # fmt: skip
    for number, t in enumerate(one.places):
        low, high = bin_edges(7, 6 - number)
        assert low <= t < high
    others = [pooled_draw(3, 6, 7, 2, 9, (4, 2, 2)), pooled_draw(4, 5, 7, 2, 9, (4, 2, 2))]
    assert not any(torch.equal(one.noise, other.noise) for other in others)
    times = {t for number in range(300) for t in pooled_draw(0, number, 4, 1, 1, (1,)).places}
    assert {min(times), max(times)} <= {*range(10), *range(990, 1000)}


def whole_pool(trajectory: FrozenTrajectory, step: int) -> Pool:
    rows = torch.arange(trajectory.config.pool_size)
    return trajectory._pool_of(step, rows, torch.full_like(rows, trajectory.config.ddim_steps - 1))


def test_a_pool_is_sampled_no_further_than_a_step_needs_and_gives_the_same_pairs(
    student: Student, schedule: Schedule, embeddings: Embeddings
) -> None:
    class Passes(Silent):
        done = 0

        def advanced(self, task: str, done: int, details: str = "") -> None:
            self.done = done

    told = Passes()
    at_once, one = (
        FrozenTrajectory(student, schedule, embeddings, config, (1, *SHAPE[1:]), reporter)
        for config in [CONFIG.model_copy(update={"trajectory": "frozen", "pool_size": 8})]
        for reporter in (Silent(), told)
    )
    whole_pool(at_once, 0)
    for step in range(8):
        _, bins = one._rows(step)
        assert torch.equal(one.pairs(step).x_t, at_once.pairs(step).x_t)
        if step == 0:
            assert told.done == 2 * (int(bins) + 1)  # a quarter of the pool, down to this t
    assert told.done < 8 * CONFIG.ddim_steps


def test_x_t_of_a_pool_is_the_frozen_models_guided_sample(
    student: Student, schedule: Schedule, embeddings: Embeddings
) -> None:
    trajectory = opened("frozen", student, schedule, replace(embeddings, erase_from=None))
    assert isinstance(trajectory, FrozenTrajectory)
    pool = whole_pool(trajectory, 0)
    drawn = pooled_draw(CONFIG.seed, 2, 4, 2, 3, SHAPE[1:])
    concept, x_t = embeddings.prompts[drawn.prompt], drawn.noise[None]
    for place, t in enumerate(drawn.places):
        torch.testing.assert_close(pool.x_t[2, place], x_t[0], rtol=1e-3, atol=1e-4)
        if place < 3:
            eps_0, eps_c = (
                student.denoise_frozen(x_t, torch.tensor([t]), asked)
                for asked in (embeddings.empty, concept)
            )
            guided = eps_0 + CONFIG.start_guidance * (eps_c - eps_0)
            x_t = schedule.step(guided, x_t, t, drawn.places[place + 1])


def test_a_mini_batch_takes_rows_of_different_trajectories(
    student: Student, schedule: Schedule, embeddings: Embeddings
) -> None:
    trajectory = opened("frozen", student, schedule, embeddings)
    assert isinstance(trajectory, FrozenTrajectory)
    for step in range(12):
        rows, _ = trajectory._rows(step)
        assert len(set(rows.tolist())) == SHAPE[0]


def test_a_pool_is_replaced_when_its_pairs_are_used_and_its_memory_is_bounded(
    student: Student, schedule: Schedule, embeddings: Embeddings
) -> None:
    trajectory = opened("frozen", student, schedule, embeddings, pool_uses=2)
    assert isinstance(trajectory, FrozenTrajectory)
    first = whole_pool(trajectory, 0)
    last_step = round(5 * 4 * 2 / 3) - 1  # trajectories x steps x uses / rows
    assert whole_pool(trajectory, last_step).x_t is first.x_t
    second = whole_pool(trajectory, last_step + 1)
    assert not torch.equal(first.x_t, second.x_t)
    assert first.x_t.shape == second.x_t.shape == (5, 4, *SHAPE[1:])


def test_a_rolling_row_moves_with_the_students_own_predictions_and_restarts_from_new_noise(
    student: Student, schedule: Schedule, embeddings: Embeddings
) -> None:
    alone = replace(embeddings, erase_from=None)
    trajectory = opened("rolling", student, schedule, alone, pool_size=3)
    assert isinstance(trajectory, RollingTrajectory)
    before = trajectory.pairs(0)
    drawn = pooled_draw(CONFIG.seed, 0, 4, 2, 3, SHAPE[1:])
    torch.testing.assert_close(before.x_t[0], drawn.noise)  # row 0 starts at its noise
    with torch.no_grad():
        for parameter in student.selected.values():
            parameter.add_(0.05)  # so that the student is another model
    loss = step_loss(student, before, 1.0)
    before.follow(loss.prediction)
    after = trajectory.pairs(1)
    eps_0 = student.denoise(before.x_t, before.t, before.conditions.empty)
    guided = eps_0 + CONFIG.start_guidance * (loss.prediction - eps_0)
    expected = schedule.step(guided, before.x_t, before.t, after.t)
    torch.testing.assert_close(after.x_t[0], expected[0], rtol=1e-3, atol=1e-4)
    for step in range(1, 4):
        trajectory.pairs(step).follow(loss.prediction)
    restarted = pooled_draw(CONFIG.seed, 3, 4, 2, 3, SHAPE[1:])  # three rows: 0 + 3 comes next
    assert torch.equal(trajectory.pairs(4).x_t[0], restarted.noise)


def test_more_rolling_samples_than_rows_take_turns(
    student: Student, schedule: Schedule, embeddings: Embeddings
) -> None:
    trajectory = opened("rolling", student, schedule, embeddings, pool_size=5)
    first, second = trajectory.pairs(0), trajectory.pairs(1)
    assert trajectory.state["latents"].shape == (6, *SHAPE[1:])  # 5, made a multiple of 3 rows
    for one in first.x_t:
        assert not any(torch.equal(one, other) for other in second.x_t)
    second.follow(step_loss(student, second, 1.0).prediction)
    assert torch.equal(trajectory.pairs(0).x_t, first.x_t)  # they wait for their own turn


def trained(
    kind: str, model: Path, schedule: Schedule, embeddings: Embeddings, folder: Path, stop_at: int
) -> str:
    """Digest of the student after the run, which is interrupted first where ``stop_at`` says."""
    config = CONFIG.model_copy(update={"trajectory": kind})
    asked = iter(range(1, 100))
    student = Case(model).student()

    def go_on(stop_at: int) -> None:
        train(Training(
            student, schedule, embeddings, config, SHAPE, folder / "checkpoints",
            folder / "log.jsonl", open_tracker(config, folder, Silent()), Silent(),
            lambda: next(asked) == stop_at,
        ))  # fmt: skip

    if stop_at:
        with pytest.raises(Interrupted):
            go_on(stop_at)
        student = Case(model).student()
    go_on(0)
    return sha256(student)


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_run_ends_bit_equal(
    kind: str, model: Path, schedule: Schedule, embeddings: Embeddings, tmp_path: Path
) -> None:
    unbroken = trained(kind, model, schedule, embeddings, tmp_path / "unbroken", 0)
    assert unbroken != sha256(Case(model).student())
    for stop_at in (3, 8):
        folder = tmp_path / str(stop_at)
        assert trained(kind, model, schedule, embeddings, folder, stop_at) == unbroken
        log, other = (
            [line.partition('"seconds"')[0] for line in (tmp_path / name / "log.jsonl").open()]
            for name in ("unbroken", str(stop_at))
        )
        assert log == other


def test_a_kept_pool_serves_another_run_without_the_frozen_model(
    model: Path, schedule: Schedule, embeddings: Embeddings, tmp_path: Path
) -> None:
    folder = PoolFolder(tmp_path, "a" * 64)
    config = CONFIG.model_copy(update={"trajectory": "frozen"})

    def first_rows(student: Student) -> tuple[torch.Tensor, torch.Tensor]:
        trajectory = open_trajectory(student, schedule, embeddings, config, SHAPE, Silent(), folder)
        pairs = trajectory.pairs(0)
        return pairs.x_t, pairs.frozen().target(1.5)

    sampled = first_rows(Case(model).student())
    other = Case(model, "full").student()

    def never(x: torch.Tensor, t: torch.Tensor, c: Conditioning) -> torch.Tensor:
        raise AssertionError("the frozen model was asked")

    object.__setattr__(other, "denoise_frozen", never)
    kept = first_rows(other)
    assert all(torch.equal(one, again) for one, again in zip(sampled, kept, strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["a" * 16 + "-0000.safetensors"]


@pytest.mark.parametrize("kind", KINDS)
def test_processes_that_share_a_step_have_its_rows_together(
    kind: str, model: Path, schedule: Schedule, embeddings: Embeddings
) -> None:
    config = CONFIG.model_copy(update={"trajectory": kind})
    whole, *parts = (
        open_trajectory(
            Case(model).student(), schedule, embeddings, config, SHAPE, Silent(), mine=mine
        )
        for mine in (slice(None), slice(0, 1), slice(1, 3))
    )
    for step in range(3):
        pairs, *shared = (trajectory.pairs(step) for trajectory in (whole, *parts))
        for name in ("x_t", "t"):
            rows = torch.cat([getattr(each, name) for each in shared])
            torch.testing.assert_close(rows, getattr(pairs, name), rtol=1e-4, atol=1e-5)
        for each in (pairs, *shared):
            each.follow(each.x_t * 0.5)
