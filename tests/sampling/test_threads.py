"""Shared work runs at once, keeps its order, and leaves the number of threads as it was."""

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.sampling.plan import SamplePlan
from esdctl.sampling.sample import sample
from esdctl.sampling.threads import run_in_threads


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Four of torch's, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_tasks_run_at_once_with_their_share_of_the_threads_and_answer_in_their_order() -> None:
    barrier, stop = threading.Barrier(2, timeout=60), threading.Event()

    def task(name: str) -> tuple[str, int]:
        barrier.wait()
        return name, torch.get_num_threads()

    assert run_in_threads([lambda: task("one"), lambda: task("two")], stop) == [
        ("one", 2),
        ("two", 2),
    ]
    assert torch.get_num_threads() == 4
    assert not stop.is_set()


def test_more_tasks_than_threads_have_one_each() -> None:
    assert run_in_threads([torch.get_num_threads] * 5, threading.Event()) == [1] * 5


def test_a_single_task_has_all_threads_and_none_of_its_own() -> None:
    (found,) = run_in_threads(
        [lambda: (threading.get_ident(), torch.get_num_threads())], threading.Event()
    )
    assert found == (threading.get_ident(), 4)


def test_an_error_stops_the_other_tasks_and_the_threads_are_given_back() -> None:
    stop, ended = threading.Event(), threading.Event()

    def fail() -> None:
        raise ValueError("no latents")

    def wait() -> None:
        assert stop.wait(60)
        ended.set()

    with pytest.raises(ValueError, match="no latents"):
        run_in_threads([wait, fail], stop)
    assert ended.is_set()
    assert torch.get_num_threads() == 4


def test_ctrl_c_stops_all_tasks() -> None:
    stop, begun = threading.Event(), threading.Barrier(3, timeout=60)

    def wait() -> None:
        begun.wait()
        assert stop.wait(60)

    def interrupt() -> None:
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_in_threads([wait, wait], stop)
    thread.join()
    assert torch.get_num_threads() == 4


def test_pictures_do_not_depend_on_the_number_of_threads(
    model: StableDiffusion, plan: SamplePlan
) -> None:
    picture = plan.pictures[0]
    many = [replace(picture, file=f"{seed}.png", seed=seed) for seed in range(6)]
    shared = dict(next(sample(model, many, 6)))
    torch.set_num_threads(1)
    alone = dict(next(sample(model, many, 6)))
    assert list(shared) == list(alone) == many
    for made in many:
        assert np.abs(shared[made].astype(int) - alone[made].astype(int)).max() <= 2
