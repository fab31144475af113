"""The attack ``relearn`` fine-tunes a copy; what it attacks stays as it was."""

from pathlib import Path

import torch

from tests.attacks_on_erasures.targets import attack, make_noise, target_of

SHORT = {"pictures": 1, "steps": 1, "every": 1, "batch": 1}


def test_it_tells_after_how_many_steps_the_concept_is_back(tmp_path: Path) -> None:
    attempts = attack("relearn", target_of(tmp_path), SHORT)
    assert [attempt.found for attempt in attempts] == [True]
    assert {attempt.what for attempt in attempts} == {"fine-tuned 1 steps on 1 pictures"}


def test_the_attacked_model_is_unchanged(tmp_path: Path) -> None:
    target = target_of(tmp_path)
    before = {name: value.clone() for name, value in target.model.denoiser.named_parameters()}
    attack("relearn", target, {**SHORT, "learning_rate": 0.1})
    after = dict(target.model.denoiser.named_parameters())
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(value.requires_grad for value in after.values())


def test_it_finds_nothing_in_pure_noise(tmp_path: Path) -> None:
    target = target_of(tmp_path)
    make_noise(target.model)
    target.model.denoiser.conv_out.requires_grad_(False)
    assert not any(attempt.found for attempt in attack("relearn", target, SHORT))
