"""``train --method``: an edit alone, ESD alone, or the one after the other."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from esdctl.checkpoints.changes.delta import read_delta
from esdctl.erasing.plan import ErasePlan, plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.models.stable_diffusion import StableDiffusion
from esdctl.storage.workspace import Workspace

Train = Callable[..., int]


def planned(folder: Path, preset: str | None = None, **flags: object) -> ErasePlan:
    given = {"model": "pocket", "concept": "Dogs", **flags}
    return plan_erase(EraseRequest(given, preset=preset), Workspace(folder))


@pytest.mark.parametrize(
    ("flags", "method", "preset", "parameters"),
    [
        ({"method": "edit"}, "edit", "pocket", "esd-x-strict"),
        ({"method": "edit", "train_method": "xattn"}, "edit", "pocket", "xattn"),
        ({"method": "esd"}, "esd", "pocket-cold", "xattn"),
        ({"method": "edit+esd"}, "edit+esd", "pocket", "xattn"),
        ({}, "edit+esd", "pocket", "xattn"),
        ({"warm_start": True, "iterations": 0}, "edit", "pocket", "xattn"),
        ({"warm_start": False}, "esd", "pocket-cold", "xattn"),
    ],
)
def test_a_method_and_the_settings_that_it_stands_for_say_the_same(
    flags: dict[str, object], method: str, preset: str, parameters: str, tmp_path: Path
) -> None:
    plan = planned(tmp_path, **flags)
    assert plan.config.method == method
    assert plan.preset.name == preset
    assert plan.config.train_method == parameters
    assert plan.config.warm_start == (method != "esd")
    assert (plan.config.iterations == 0) == (method == "edit")


def test_the_older_spelling_of_an_edit_is_the_same_run(tmp_path: Path) -> None:
    older = planned(tmp_path, warm_start=True, iterations=0, train_method="esd-x-strict")
    assert planned(tmp_path, method="edit").digest == older.digest


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--method", "edit", "--iterations", "4"), "which is edit+esd"),
        (("--method", "edit+esd", "--iterations", "0"), "which is edit"),
        (("--method", "esd", "--warm-start", "--iterations", "2"), "which is edit+esd"),
        (("--method", "edit", "--train-method", "noxattn"), "noxattn moves none"),
        (("--method", "xattn"), "must be 'edit', 'esd'"),
    ],
)  # fmt: skip
def test_what_contradicts_a_method_is_refused(
    flags: tuple[str, ...], said: str, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--retain", "Dogs", *flags) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_an_edit_reads_no_more_of_the_u_net_than_it_moves(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(model: StableDiffusion) -> None:
        raise AssertionError("an edit builds no U-Net")

    monkeypatch.setattr(StableDiffusion, "denoiser", property(no_network))
    edit = ("--method", "edit", "--iterations", "0", "--no-corpus", "--retain", "Dogs")
    assert train(*edit, "--output", "run") == 0
    tensors = read_delta(tmp_path / "run/delta.safetensors")
    assert len(tensors) == 32
    record = json.loads((tmp_path / "run/run.json").read_bytes())
    assert record["settings"]["method"] == "edit"
    assert train("--resume", "run") == 0


def test_an_edit_alone_gives_the_matrices_that_training_starts_from(
    train: Train, tmp_path: Path
) -> None:
    shared = ("--retain", "Dogs", "--no-corpus", "--iterations", "0")
    assert train("--method", "edit", *shared, "--output", "one") == 0
    assert train("--warm-start", *shared, "--output", "other", sheet=True) == 0
    one, other = (read_delta(tmp_path / name / "delta.safetensors") for name in ("one", "other"))
    assert set(one) < set(other)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert (tmp_path / "other/contact_sheet.png").is_file()


def test_an_edit_keeps_the_corpus_and_the_record_says_what_was_left_out(
    train: Train, tmp_path: Path
) -> None:
    edit = ("--method", "edit", "--iterations", "0")
    assert train(*edit, "--output", "kept", concept="Dogs") == 0
    record = json.loads((tmp_path / "kept/run.json").read_bytes())
    assert record["settings"]["corpus"] is True
    assert "dogs" in record["corpus"]["left_out"]
    assert 3000 <= record["corpus"]["kept_prompts"] < 3910
    assert train(*edit, "--no-corpus", "--output", "not", concept="Dogs") == 0
    kept, other = (read_delta(tmp_path / name / "delta.safetensors") for name in ("kept", "not"))
    assert any(not torch.equal(value, other[name]) for name, value in kept.items())


@pytest.mark.parametrize(
    ("first", "then", "is_kept"),
    [
        ("Dog", "Dogs", True),
        ("Dogs", "Dog", True),
        ("Van Gogh", "Van Gogh Starry", True),
        ("Van Gogh Starry", "Van Gogh", False),  # its own tokens would be kept
    ],
)
def test_what_was_erased_before_is_kept_as_it_is_unless_its_name_begins_with_the_new_one(
    first: str, then: str, is_kept: bool, train: Train, tmp_path: Path
) -> None:
    edit = ("--method", "edit", "--iterations", "0", "--no-corpus")
    edit += ("--prompt", "An image of {concept}.")
    assert train(*edit, "--output", "one", concept=first) == 0
    more = ("--model", str(tmp_path / "one"), "--output", "two")
    assert train(*edit, *more, concept=then) == 0
    record = json.loads((tmp_path / "two/run.json").read_bytes())
    kept = record["concept"]["retained"]
    assert kept == ([f"An image of {first}."] if is_kept else [])
