"""What a run records as its concept is what it trains on; what makes no sense is refused early."""

from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.erasing.plan import ErasePlan, plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.errors import UsageError
from esdctl.storage.workspace import Workspace

NOT_THERE = "not/there.ckpt"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path)


def planned(workspace: Workspace, preset: str | None = None, **flags: object) -> ErasePlan:
    return plan_erase(EraseRequest(flags, preset=preset), workspace)


@pytest.mark.parametrize(
    ("concept", "name", "prompt"),
    [
        ("violence", "violence", "violence"),
        ("Hate", "hate", "hate"),
        ("self_harm", "self-harm", "self-harm"),
        ("Illegal Activity", "illegal_activity", "illegal activity"),
        ("nudity", "nudity", "nudity"),
    ],
)
@pytest.mark.parametrize("template", [None, "i2p"])
def test_an_unsafe_concept_is_trained_on_by_its_own_words(
    concept: str, name: str, prompt: str, template: str | None, workspace: Workspace,
    tiny_model: Path,
) -> None:  # fmt: skip
    plan = planned(workspace, model=str(tiny_model), concept=concept, template=template)
    assert (plan.concept.name, plan.concept.template) == (name, "i2p")
    assert plan.concept.prompts == (prompt,)
    assert plan.config.train_method == "noxattn"
    assert plan.output.name.startswith(name)


def test_the_preset_for_nudity_names_its_concept(workspace: Workspace, tiny_model: Path) -> None:
    plan = planned(workspace, "nudity", model=str(tiny_model))
    assert (plan.concept.name, plan.concept.prompts) == ("nudity", ("nudity",))
    other = planned(workspace, "nudity", model=str(tiny_model), concept="Dogs")
    assert (other.concept.name, other.concept.prompts) == ("Dogs", ("An image of Dogs.",))


def test_the_small_model_knows_nothing_unsafe(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="knows no concept 'nudity'") as caught:
        planned(workspace, model="pocket", concept="nudity")
    assert "--model compvis" in caught.value.hint


def test_several_known_concepts_in_one_retain_are_split_and_said(workspace: Workspace) -> None:
    plan = planned(workspace, model="pocket", concept="Dogs", retain=("Cats,Birds", "a cat, red"))
    assert plan.config.retain == ("Cats", "Birds", "a cat, red")
    assert "--retain Cats,Birds is read as 2 concepts: Cats, Birds" in plan.notes


def test_retained_styles_and_objects_are_kept_together_too(workspace: Workspace) -> None:
    kept = ("Rust", "Cats", "Bricks", "a cat, red")
    plan = planned(workspace, model="pocket", concept="Mosaic", retain=kept, retain_all=False)
    alone = ("An image of Rust.", "An image of Cats.", "An image of Bricks.", "a cat, red")
    assert plan.concept.retained[:4] == alone
    assert plan.concept.retained[4:] == (
        "A Cats image in Rust style.",
        "A Cats image in Bricks style.",
    )
    objects = planned(
        workspace, model="pocket", concept="Mosaic", retain=("Cats", "Dogs"), retain_all=False
    )
    assert objects.concept.retained == ("An image of Cats.", "An image of Dogs.")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"concept": ""}, "must not be empty"),
        ({"concept": " "}, "must not be empty"),
        ({"prompt": ("",)}, "must not be empty"),
        ({"concept": "Dogs", "retain": ("",)}, "must not be empty"),
        ({"concept": "Dogs", "retain": ("Cats, Brds",)}, "no concept is called 'Brds'"),
        ({"concept": "Dogs", "retain": ("Cats,",)}, "no concept is called ''"),
        ({"concept": "Dogs", "retain": ("a {concept}",)}, "nothing is filled in here"),
        ({"concept": "Dogs", "prompt": ("a {Concept}",)}, r"\{Concept\}, which nothing fills in"),
        ({"concept": "Dogs", "prompt": ("a {{concept}}",)}, r"write \{concept\} where"),
        ({"concept": "Dogs", "prompt": ("a { name }",)}, r"write \{concept\} where"),
        ({"concept": "Dogs", "erase_from": "a {concept}"}, "nothing is filled in here"),
        ({"concept": "Dgos"}, "knows no concept 'Dgos'"),
        ({"concept": "violense", "template": "i2p"}, "knows no concept 'violense'"),
        ({}, "nothing to erase"),
        ({"concept": "Dogs", "until": "UA>=nan"}, "no condition"),
        ({"concept": "Dogs", "until": "UA>=101"}, "no condition"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_model_is_looked_for(
    flags: dict[str, object], message: str, workspace: Workspace
) -> None:
    with pytest.raises(UsageError) as caught:
        planned(workspace, model=NOT_THERE, **flags)
    assert caught.match(message) or message in caught.value.hint


def test_a_dry_run_refuses_what_no_probe_can_measure(
    workspace: Workspace, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "--concept", "Dogs", "--model", str(tiny_model), "--until", "UA>=99"]
    assert run([*line, "--dry-run", "--no-estimate"]) in (2, 3)
    assert "no classifier of its own" in capsys.readouterr().err


def test_train_and_sample_take_the_same_model_and_say_which(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "--concept", "Dogs", "--dry-run", "--no-estimate"]) == 0
    assert "model: pocket" in capsys.readouterr().out
    assert run(["sample", "--prompt", "a dog", "--dry-run", "--no-estimate"]) == 0
    assert "model: pocket (choose another with --model)" in capsys.readouterr().err
