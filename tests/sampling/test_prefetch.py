"""Batches are made ahead of their use, fit the memory, and stop when nobody wants them."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from threading import Event

import numpy as np
import pytest
import torch

from esdctl.errors import UsageError
from esdctl.models import batch_size as fitting
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.sampling import sample as sampler
from esdctl.sampling.plan import SamplePlan, parse_batch_size
from esdctl.sampling.prefetch import prefetched
from esdctl.sampling.sample import auto_batch_size, sample


def test_the_next_item_is_made_while_one_is_used() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(4):
            made.append(number)
            yield number

    taken = []
    for item in prefetched(items(), Event()):
        deadline = time.monotonic() + 10
        while len(made) < min(item + 2, 4) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert len(made) == min(item + 2, 4)
        taken.append(item)
    assert taken == made == [0, 1, 2, 3]


def test_an_error_of_the_thread_is_raised_where_its_item_is_taken() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no second item")

    stop = Event()
    taken = prefetched(items(), stop)
    assert next(taken) == 1
    with pytest.raises(ValueError, match="no second item"):
        next(taken)
    assert stop.is_set()


def test_leaving_early_ends_the_batch_that_is_under_way(
    model: StableDiffusion, plan: SamplePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, others = 0, threading.active_count()
    denoiser = sampler._denoiser(model)

    def slow(*arguments: object) -> torch.Tensor:
        nonlocal asked
        asked += 1
        time.sleep(0.05)
        return denoiser(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sampler, "_denoiser", lambda model: slow)
    batches = sampler._overlapped(model, plan.pictures, 1)
    next(batches)
    asked_by_then = asked
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == others
    assert asked <= asked_by_then + 1


def test_overlapped_stages_make_the_same_pictures(model: StableDiffusion, plan: SamplePlan) -> None:
    made = [dict(batch) for batch in sampler._overlapped(model, plan.pictures, 3)]
    plain = [dict(batch) for batch in sample(model, plan.pictures, 3)]
    assert [list(batch) for batch in made] == [list(batch) for batch in plain]
    for one, other in zip(made, plain, strict=True):
        assert all(np.array_equal(one[picture], other[picture]) for picture in one)


def test_a_cpu_makes_a_large_batch_in_parts(
    model: StableDiffusion, plan: SamplePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = plan.pictures[0]
    many = [replace(picture, file=f"{seed}.png", seed=seed) for seed in range(5)]
    whole = dict(next(sample(model, many, 5)))
    monkeypatch.setattr(sampler, "DENOISED_AT_ONCE", 2 * 8 * 8)  # two pictures
    monkeypatch.setattr(sampler, "DECODED_AT_ONCE", 1)  # at least one
    parts = dict(next(sample(model, many, 5)))
    assert list(parts) == list(whole) == many
    for made in many:
        assert np.abs(parts[made].astype(int) - whole[made].astype(int)).max() <= 2


@pytest.mark.parametrize(
    ("grown", "free", "size"),
    [(10, 1000, 16), (100, 1000, 8), (600, 1000, 1), (None, 1000, 1), (0, 1000, 16)],
)
def test_auto_is_the_largest_power_of_two_that_fits(
    grown: int | None,
    free: int,
    size: int,
    model: StableDiffusion,
    plan: SamplePlan,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitting, "peak_growth", lambda device, work: grown)
    monkeypatch.setattr(fitting, "free_memory", lambda device: free)
    assert auto_batch_size(model, plan.pictures) == size


def test_on_cuda_a_second_piece_tells_what_each_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    def grown(device: torch.device, work: Callable[[], None]) -> int:
        assert isinstance(work, partial)
        return {1: 500, 2: 520}[work.args[0]]  # 480 are needed once

    monkeypatch.setattr(fitting, "peak_growth", grown)
    monkeypatch.setattr(fitting, "free_memory", lambda device: 2000)
    fit = fitting.fitting_batch(torch.device("cuda"), lambda count: None, 64, kept=200)
    assert fit is not None
    assert (fit.a_piece, fit.size) == (20, 32)  # of 2000 four fifths, less 480 and 200


def test_auto_makes_the_same_pictures(model: StableDiffusion, plan: SamplePlan) -> None:
    files = [picture.file for batch in sample(model, plan.pictures, "auto") for picture, _ in batch]
    assert sorted(files) == sorted(picture.file for picture in plan.pictures)


def test_no_pictures_need_no_model(model: StableDiffusion) -> None:
    assert list(sample(model, [], "auto")) == []


def test_a_batch_size_is_a_number_or_auto() -> None:
    assert parse_batch_size("auto") == "auto"
    assert parse_batch_size("4") == 4
    for wrong in ("0", "-1", "many", "²"):
        with pytest.raises(UsageError, match="--batch-size is"):
            parse_batch_size(wrong)
