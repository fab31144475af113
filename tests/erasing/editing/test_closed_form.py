"""The closed-form edit: what it solves, what it keeps, and what it spares training."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from esdctl.diffusion.conditioning import Conditioning
from esdctl.erasing.concepts import Concept
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.editing import closed_form as module
from esdctl.erasing.editing.closed_form import Rule, edit_keys_and_values
from esdctl.erasing.esd.prepare import prepare
from esdctl.erasing.esd.step import Embeddings
from esdctl.erasing.esd.student import Student
from esdctl.models.families.sd1 import FAMILY as SD1
from esdctl.models.resolve import Pipeline
from esdctl.models.stable_diffusion import load
from esdctl.storage.atomic import read_jsonl
from tests.checkpoints.tiny_models import FAMILIES, Family, tiny_folder

Train = Callable[..., int]
D = 16
NAME = "block.attn2.to_k.weight"


def random_rows(count: int, seed: int) -> Conditioning:
    return Conditioning(torch.randn(count, 3, D, generator=torch.Generator().manual_seed(seed)))


def embeddings(retained: int = 2, erase_from: bool = False) -> Embeddings:
    return Embeddings(
        prompts=random_rows(2, 0),
        erase_from=random_rows(1, 1) if erase_from else None,
        retained=random_rows(retained, 2) if retained else None,
        empty=random_rows(1, 3),
    )


def student() -> Student:
    weight = nn.Parameter(torch.randn(5, D, generator=torch.Generator().manual_seed(4)))
    other = nn.Parameter(torch.ones(5, D))
    selected = {NAME: weight, "block.attn2.to_q.weight": other}
    return Student(
        nn.Identity(), SD1.denoiser, selected, {k: v.detach().clone() for k, v in selected.items()}
    )


def objective(new: torch.Tensor, old: torch.Tensor, given: Embeddings, eta: float) -> torch.Tensor:
    """What the edit minimises, written from the paper's sums, token by token."""
    empty = given.empty.embeddings
    source = empty if given.erase_from is None else given.erase_from.embeddings
    c = given.prompts.embeddings
    asked = c if given.erase_from is None else source.expand_as(c)
    wanted = source - eta * (c - empty)
    kept = torch.cat([part.embeddings for part in (given.empty, given.retained) if part]).double()
    lengths = [rows.flatten(0, 1).square().sum(1).mean() for rows in (asked.double(), kept)]
    ridge = module.RIDGE_ALL_NAMED * (lengths[0] + module.KEEP_WEIGHT * lengths[1]) / D
    return (
        (asked.double() @ new.T - wanted.double() @ old.T).square().sum(-1).mean()
        + module.KEEP_WEIGHT * (kept @ (new - old).T).square().sum(-1).mean()
        + ridge * (new - old).square().sum()
    )


@pytest.mark.parametrize("erase_from", [False, True])
def test_no_other_matrix_is_better(erase_from: bool) -> None:
    given, one = embeddings(erase_from=erase_from), student()
    assert edit_keys_and_values(one, given, Rule(eta=1.0, ridge=module.RIDGE_ALL_NAMED)) == 1
    new = one.selected[NAME].detach().double().requires_grad_()
    old = one.frozen[NAME].double()
    (gradient,) = torch.autograd.grad(objective(new, old, given, 1.0), new)
    (before,) = torch.autograd.grad(objective(old.requires_grad_(), old.detach(), given, 1.0), old)
    assert gradient.norm() < 1e-5 * before.norm()


def test_tokens_of_the_concept_become_what_is_wanted_and_kept_ones_stay() -> None:
    given, one = embeddings(), student()
    edit_keys_and_values(one, given, Rule(eta=0.0, ridge=module.RIDGE_ALL_NAMED))
    new, old = one.selected[NAME], one.frozen[NAME]

    def moved(rows: Conditioning) -> float:
        return float((rows.embeddings @ (new - old).T).norm() / (rows.embeddings @ old.T).norm())

    c, empty = given.prompts.embeddings, given.empty.embeddings
    missed = (c @ new.T - empty @ old.T).norm() / (c @ old.T - empty @ old.T).norm()
    assert missed < 0.1
    assert moved(given.empty) < 0.05
    assert given.retained is not None
    assert moved(given.retained) < 0.05


def test_keys_and_values_alone_move_and_the_frozen_copy_stays() -> None:
    one = student()
    before = {name: value.clone() for name, value in one.frozen.items()}
    edit_keys_and_values(one, embeddings(), Rule())
    assert torch.equal(one.selected["block.attn2.to_q.weight"], torch.ones(5, D))
    assert all(torch.equal(one.frozen[name], value) for name, value in before.items())


def test_tokens_that_a_kept_prompt_shares_are_not_erased() -> None:
    """Such as those of "An image of" before the concept's name."""
    given = embeddings(retained=0)
    shared = Embeddings(given.prompts, None, given.prompts, given.empty)
    one = student()
    edit_keys_and_values(one, shared, Rule())
    torch.testing.assert_close(one.selected[NAME].detach(), one.frozen[NAME])


@pytest.mark.parametrize("family", FAMILIES)
def test_each_block_with_a_prompt_is_edited_in_every_family(family: Family, tmp_path: Path) -> None:
    pipeline = Pipeline("tiny", tiny_folder(family, tmp_path / "model"))
    concept = Concept("Rust", "style", ("rust style",), None, ("a dog",))
    model = load(pipeline, torch.device("cpu"))
    ready = prepare(model, pipeline, concept, TrainConfig(train_method="esd-x-strict"))
    count = edit_keys_and_values(ready.student, ready.embeddings, Rule())
    assert count == len(ready.student.selected)
    changed = {
        name
        for name, value in ready.student.selected.items()
        if not torch.equal(value, ready.student.frozen[name])
    }
    assert changed == set(ready.student.selected)
    assert all(bool(value.isfinite().all()) for value in ready.student.selected.values())


def test_a_run_of_the_edit_alone_is_a_finished_run(train: Train, tmp_path: Path) -> None:
    edit = ("--warm-start", "--no-corpus", "--iterations", "0")
    assert train(*edit, "--retain", "Dogs", "--output", "run") == 0
    (row,) = read_jsonl(tmp_path / "run/log.jsonl")
    assert row["step"] == 0
    assert row["warm_start"] == 32
    assert (tmp_path / "run/delta.safetensors").is_file()


def test_training_goes_on_from_the_edit(train: Train, tmp_path: Path) -> None:
    assert train("--warm-start", "--no-corpus", "--retain", "Dogs", "--output", "warm") == 0
    assert train("--retain", "Dogs", "--output", "cold") == 0
    warm, cold = (
        [
            float(str(row["loss"]))
            for row in read_jsonl(tmp_path / f"{name}/log.jsonl")
            if "loss" in row
        ]
        for name in ("warm", "cold")
    )
    assert len(warm) == len(cold) == 4
    assert warm != cold


def test_an_older_run_without_the_setting_has_the_same_digest(train: Train, tmp_path: Path) -> None:
    assert train("--output", "one") == 0
    record = json.loads((tmp_path / "one/run.json").read_bytes())
    assert train("--no-warm-start", "--output", "other") == 0
    other = json.loads((tmp_path / "other/run.json").read_bytes())
    assert record["settings_digest"] == other["settings_digest"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--warm-start", "--train-method", "noxattn"), "noxattn moves none"),
        (("--iterations", "0"), "unless warm_start"),
        (("--warm-start", "--no-corpus", "--ridge", "0.001"), "without anything to keep"),
    ],
)
def test_what_would_do_nothing_or_too_much_is_refused(
    flags: tuple[str, ...], said: str, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*flags) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_null_space_rule_moves_nothing_that_is_kept() -> None:
    given, one = embeddings(), student()
    edit_keys_and_values(one, given, Rule(is_null_space=True))
    difference = (one.selected[NAME] - one.frozen[NAME]).detach()
    assert given.retained is not None
    for kept in (given.empty, given.retained):
        assert float((kept.embeddings @ difference.T).norm()) < 1e-4 * float(kept.embeddings.norm())
    assert float((given.prompts.embeddings @ difference.T).norm()) > 0.1


def test_a_round_edits_what_would_bring_the_concept_back() -> None:
    given = embeddings()

    def nearest(rounds: int) -> float:
        """How nearly any embedding still says what the concept said, in parts of its length."""
        one = student()
        edit_keys_and_values(one, given, Rule(rounds=rounds))
        said = given.prompts.embeddings.flatten(0, 1) @ one.frozen[NAME].T  # (N, C)
        back = torch.linalg.lstsq(one.selected[NAME].detach(), said.T).solution
        return float(back.norm())

    assert nearest(2) > nearest(0)


def test_a_concept_among_many_is_erased_as_if_it_were_alone() -> None:
    """What each has of its own is not weighed by how many there are."""
    rows = torch.eye(D)[:8].reshape(8, 1, D).expand(8, 3, D).contiguous()  # at right angles
    empty = Conditioning(torch.zeros(1, 3, D))
    many = Embeddings(Conditioning(rows), None, None, empty)
    alone = Embeddings(Conditioning(rows[:1]), None, None, empty)
    left = []
    for given, count in ((many, 8.0), (alone, 1.0)):
        one = student()
        edit_keys_and_values(one, given, Rule(eta=0.0, weight=count))
        left.append(float((one.selected[NAME] @ rows[0, 0]).norm()))
    assert left[0] == pytest.approx(left[1], rel=1e-4)
